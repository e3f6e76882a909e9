"""The house: imports run one way, and importing the definitions is light."""

import ast
import subprocess
import sys
from pathlib import Path

import prefassets

PACKAGE = Path(prefassets.__file__).parent
FORBIDDEN = {  # folder -> what nothing in it may import
    "domain": (
        "dagster",
        "duckdb",
        "prefassets.assets",
        "prefassets.report",
        "prefassets.resources",
        "prefassets.studies",
        "prefassets.measurements",
        "prefassets.arena_recipes",
        "prefassets.cli",
    ),
    **dict.fromkeys(
        ("studies", "measurements"),
        ("dagster", "duckdb", "prefassets.assets", "prefassets.report", "prefassets.resources", "prefassets.cli"),
    ),
    "report": ("dagster", "duckdb", "pathlib", "os", "prefassets.assets", "prefassets.resources", "prefassets.cli"),
    "resources": ("prefassets.assets", "prefassets.cli", "prefassets.definitions", "prefassets.runs"),
    "assets": ("prefassets.cli", "prefassets.definitions", "prefassets.runs"),
}


def imported_modules(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_imports_run_one_way():
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {module}"
        for folder, forbidden in FORBIDDEN.items()
        for file in (PACKAGE / folder).rglob("*.py")
        for module in imported_modules(file)
        if any(module == name or module.startswith(f"{name}.") for name in forbidden)
    ]
    assert wrong == []


def test_importing_the_definitions_does_not_import_torch():
    heavy = ("torch", "transformers", "trl", "peft", "sklearn", "statsmodels", "scipy", "matplotlib")
    code = f"import sys, prefassets.definitions; print([name for name in {heavy} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
