"""Templates: those of the report can all be written, and no two share a name."""

import re
from itertools import product

import pytest

from prefassets.domain.preferences.template import VALUES, Template

PUBLISHED = {  # template_tags of the report's 48 runs: every value that a field has there
    "task_order": {"canonical", "reversed"},
    "instruction_position": {"before", "after"},
    "response_format": {"regex", "xml", "tool_use"},
    "phrasing": {"1", "2", "3"},
    "punctuation": {"standard", "minimal"},
    "typos": {"False", "True"},
    "language": {"en", "es", "fr"},
    "task_label_names": {"letter", "number"},
    "instruction_xml_tags": {"False", "True"},
    "situating_context": {"none", "experiment"},
    "seed": {"0", "1", "2"},
}


def test_fields_and_values_are_those_of_the_published_runs():
    assert set(Template().fields()) == set(PUBLISHED)
    for name, published in PUBLISHED.items():
        values = VALUES.get(name, (0, 1, 2))
        assert published <= {Template(**{name: value}).fields()[name] for value in values}


def test_no_two_templates_share_a_name_and_every_name_is_a_partition_key():
    combinations = product(*VALUES.values(), (0, 1, 12))
    names = [Template(**dict(zip((*VALUES, "seed"), values, strict=True))).name for values in combinations]
    assert len(set(names)) == len(names) == 3 * 2 * 3 * 3 * 2 * 2 * 4 * 2 * 2 * 2 * 3
    assert all(re.fullmatch(r"[a-z0-9_]+(-[a-z0-9_]+)*", name) for name in names)


def test_a_name_says_what_differs_from_the_default():
    assert Template().name == "plain"
    assert Template(response_format="xml", task_order="reversed", seed=1).name == "xml-reversed-seed1"


def test_an_unknown_value_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="response_format is 'json'; it must be one of 'regex', 'xml', 'tool_use'"):
        Template(response_format="json")  # type: ignore[arg-type]
