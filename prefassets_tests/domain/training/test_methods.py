"""Methods are found by their files, say what they compute, and cost nothing to look at."""

import subprocess
import sys

import pytest

from prefassets.domain.training.methods import METHODS


def test_dpo_is_declared_with_its_equation_and_source():
    dpo = METHODS["dpo"]
    assert "2305.18290" in dpo.source
    assert "sigmoid" in dpo.equation


@pytest.mark.parametrize("name", METHODS)
def test_method_is_known_by_its_own_name_and_can_be_trained_by_trl(name, tmp_path):
    from trl import DPOConfig

    assert METHODS[name].name == name
    DPOConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, **METHODS[name].trl_options)


def test_recipes_and_methods_are_read_without_loading_torch():
    code = (
        "import sys, prefassets.domain.training.recipe, prefassets.domain.training.methods;"
        "print([name for name in ('torch', 'transformers', 'trl', 'peft', 'polars') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
