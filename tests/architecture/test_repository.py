"""Promises of the repository itself: the locks, the make targets, the layout of tests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from runner.types import COLUMN_FIELDS, FIELDS_OF_SOME_JOBS, RECORD_FIELDS

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9-]", requirement)[0].lower() for requirement in requirements}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_versions_and_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert not [line for line in text.splitlines() if line.startswith("-")]
    for pinned in re.split(r"(?m)^(?=[a-z])", text):
        assert not pinned.strip() or "--hash=sha256:" in pinned, pinned


def test_the_locks_cover_what_the_project_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    base = distributions(project["project"]["dependencies"])
    developers = distributions(project["dependency-groups"]["dev"])
    assert base <= set(locked("requirements.lock"))
    assert base | developers <= set(locked("requirements-dev.lock"))


def test_developers_test_the_versions_that_users_get() -> None:
    base, developers = locked("requirements.lock"), locked("requirements-dev.lock")
    assert {name: developers.get(name) for name in base} == base


def test_every_public_make_target_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    explained = re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE)
    assert sorted(explained) == sorted(phony.split())


def test_test_files_have_unique_names() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_unit_tests_name_a_module_that_is_there() -> None:
    """`tests/unit/test_<package>_<module>.py` tests `runner/<package>/<module>.py`."""
    modules = {
        "_".join(path.relative_to(ROOT / "runner").with_suffix("").parts) for path in (ROOT / "runner").rglob("*.py")
    }
    packages = {module.removesuffix("___init__") for module in modules}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "unit").glob("test_*.py")}
    assert sorted(tests - modules - packages) == []


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


PAGES = sorted(
    path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "runner" / "examples").glob("*.md")]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_pages_that_the_code_names_are_there() -> None:
    """A page, or a decision by its number: `docs/decisions/0022`."""
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    pages |= {page[: page.index("-")] for page in pages if page.startswith("docs/decisions/0")}
    for module in (ROOT / "runner").rglob("*.py"):
        text = module.read_text(encoding="utf-8")
        named = set(re.findall(r"docs/(?:decisions/\d{4}\b|[\w-]+\.md)", text))
        assert named <= pages, f"{module}: {sorted(named - pages)}"
        assert not re.search(r"\(decision \d", text), f"{module}: a decision without its page"


def test_the_page_of_outputs_tells_of_every_field_of_a_record() -> None:
    page = (ROOT / "docs" / "output.md").read_text(encoding="utf-8")
    section = page.partition("## What a record holds")[2].partition("\n## ")[0]
    told = set(re.findall(r"`(\w+)`", section))
    assert told >= {*RECORD_FIELDS, *COLUMN_FIELDS, *FIELDS_OF_SOME_JOBS}
