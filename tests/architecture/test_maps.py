"""The map that a package gives of itself, in the docstring of its `__init__`: nothing is left out of it, or gone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

RUNNER = Path(__file__).parents[2] / "runner"
PACKAGES = sorted(path.parent for path in RUNNER.rglob("__init__.py") if "examples" not in path.parts)
MAP = re.compile(r"^The folder, in the order to read it in.*:\n\n((?: +.*\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^ +((?:\w+, )*\w+)(?: {2,}\S|$)", re.MULTILINE)
"""`    name    what it is`, or several names before it, or nothing but names."""
QUOTED = re.compile(r"`(?:\w+\.)*(\w+)`")

each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(RUNNER.parent)))


def docstring_of(package: Path) -> str:
    return ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")), clean=False) or ""


def modules_of(package: Path) -> set[str]:
    files = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    return files | {path.parent.name for path in package.glob("*/__init__.py")}


def entries_of(text: str) -> set[str]:
    return {name for names in ENTRY.findall(text) for name in names.split(", ")}


@each_package
def test_a_package_says_of_each_module_what_it_is(package: Path) -> None:
    said = docstring_of(package)
    missing = modules_of(package) - entries_of(said) - set(QUOTED.findall(said))
    assert not missing, f"the docstring of {package.name}/__init__.py leaves out {', '.join(sorted(missing))}"


@each_package
def test_a_map_names_nothing_that_is_not_there(package: Path) -> None:
    found = MAP.search(docstring_of(package))
    gone = entries_of(found[1]) - modules_of(package) if found else set()
    assert not gone, f"the map in {package.name}/__init__.py names {', '.join(sorted(gone))}"
