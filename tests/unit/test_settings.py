from __future__ import annotations

import re
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

import pytest

from runner.catalog.api import MAX_BATCH_BYTES, MAX_BATCH_REQUESTS
from runner.errors import Problem, SpecError
from runner.settings import Settings, find_root, load_settings, merged_environment, shown_path
from support.harness import ROOT


def settings_of(root: Path, toml: str = "", dotenv: str = "", **environ: str) -> Settings:
    (root / "runner.toml").write_text(toml)
    (root / ".env").write_text(dotenv)
    return load_settings(root, environ)


def problems_of(root: Path, toml: str = "", dotenv: str = "", **environ: str) -> list[Problem]:
    with pytest.raises(SpecError) as raised:
        settings_of(root, toml, dotenv, **environ)
    return list(raised.value.problems)


# -- the root ----------------------------------------------------------------------------------------------------------


def test_the_root_is_the_nearest_folder_with_settings(tmp_path: Path) -> None:
    nested = tmp_path / "project" / "jobs" / "deep"
    nested.mkdir(parents=True)
    (tmp_path / "runner.toml").touch()
    assert find_root(nested / "a.yaml") == tmp_path
    (tmp_path / "project" / "pyproject.toml").write_text("[tool.runner]\n")
    assert find_root(nested / "a.yaml") == tmp_path / "project"


def test_a_pyproject_without_our_table_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "pyproject.toml").write_text("[tool.other]\n")
    assert find_root(tmp_path / "jobs" / "a.yaml") == tmp_path


def test_a_broken_pyproject_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.runner\n")
    assert find_root(tmp_path / "a.yaml") == tmp_path


def test_without_settings_the_root_is_above_the_nearest_jobs_folder(tmp_path: Path) -> None:
    nested = tmp_path / "jobs" / "x" / "jobs" / "y"
    nested.mkdir(parents=True)
    assert find_root(nested / "a.yaml") == tmp_path / "jobs" / "x"


def test_without_anything_the_root_is_the_files_folder(tmp_path: Path) -> None:
    assert find_root(tmp_path / "a.yaml") == tmp_path


def test_the_root_of_a_folder_is_found_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    assert find_root(tmp_path / "jobs") == tmp_path


# -- precedence --------------------------------------------------------------------------------------------------------


def test_defaults_hold_where_nothing_is_said(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert settings.state_dir == tmp_path / ".runner"
    assert settings.template_dirs == (tmp_path / "templates",)
    assert settings.confirm_above_usd == 10
    assert settings.batch_min_rows == 1000
    assert set(settings.origins.values()) == {"default"}


def test_each_layer_beats_the_one_below(tmp_path: Path) -> None:
    toml = "state_dir = 'file'\nbatch_min_rows = 1\nconfirm_above_usd = 1.5\n"
    dotenv = "RUNNER_BATCH_MIN_ROWS=2\nRUNNER_CONFIRM_ABOVE_USD=2.5\n"
    settings = settings_of(tmp_path, toml, dotenv, RUNNER_CONFIRM_ABOVE_USD="3.5")
    assert settings.state_dir == tmp_path / "file"
    assert settings.batch_min_rows == 2
    assert settings.confirm_above_usd == Decimal("3.5")
    assert settings.origins["batch_min_rows"] == ".env"
    assert settings.origins["confirm_above_usd"] == "RUNNER_CONFIRM_ABOVE_USD"
    assert settings.origins["state_dir"].endswith("runner.toml:1:1")


def test_a_flag_beats_everything(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {"RUNNER_STATE_DIR": "a"}, flags={"state_dir": "b"})
    assert settings.state_dir == tmp_path / "b"
    assert settings.origins["state_dir"] == "--state-dir"


def test_settings_may_stand_in_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n\n[tool.runner]\nbatch_min_rows = 7\n")
    settings = load_settings(tmp_path, {})
    assert settings.batch_min_rows == 7
    assert settings.origins["batch_min_rows"].endswith("pyproject.toml:5:1")


def test_folders_in_a_variable_are_joined_as_in_path(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, RUNNER_TEMPLATE_DIRS="prompts:/shared")
    assert settings.template_dirs == (tmp_path / "prompts", Path("/shared"))


def test_other_programs_variables_are_none_of_ours(tmp_path: Path) -> None:
    assert settings_of(tmp_path, RUNNER_OS="Linux", RUNNER_TEMP="/tmp/x").batch_min_rows == 1000


# -- what is wrong -----------------------------------------------------------------------------------------------------


def test_unknown_settings_are_told_with_line_and_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    problem = problems_of(tmp_path, "# settings\n\nbatch_min_row = 5\n")[0]
    assert (problem.code, str(problem.where)) == ("unknown-setting", "runner.toml:3:1")
    assert problem.hint is not None
    assert "did you mean `batch_min_rows`?" in problem.hint


def test_keys_are_found_under_their_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toml = 'state_dir = """\nbatch_min_rows = 5\n"""\n[defaults]\nmodel = "m"\n[profiles.dev]\n  sett = {}\n'
    problem = problems_of(tmp_path, toml)[0]
    assert (problem.code, str(problem.where)) == ("unknown-setting", "runner.toml:7:3")


def test_wrong_values_come_all_at_once(tmp_path: Path) -> None:
    toml = "state_dir = 5\nbatch_min_rows = -1\nconfirm_above_usd = 'much'\ntemplate_dirs = []\ndefaults = 1\n"
    codes = [problem.code for problem in problems_of(tmp_path, toml)]
    assert codes == ["bad-setting"] * 5


@pytest.mark.parametrize("value", ["true", "1.5", "nan", ""])
def test_a_number_of_rows_is_a_whole_number(tmp_path: Path, value: str) -> None:
    assert problems_of(tmp_path, RUNNER_BATCH_MIN_ROWS=value)[0].code == "bad-setting"


@pytest.mark.parametrize("transport", ["auto", "sdk", "wire"])
def test_the_transport_is_one_of_three(tmp_path: Path, transport: str) -> None:
    assert settings_of(tmp_path).transport == "auto"
    assert settings_of(tmp_path, f"transport = '{transport}'\n").transport == transport
    (problem,) = problems_of(tmp_path, RUNNER_TRANSPORT="SDK")
    assert "expected auto, sdk or wire" in problem.message


@pytest.mark.parametrize(
    ("toml", "environ", "workers"),
    [
        ("", {}, 1),
        ("workers = 3", {}, 3),
        ('workers = "auto"', {}, "auto"),
        ("workers = 3", {"RUNNER_WORKERS": "2"}, 2),
    ],
)
def test_workers_are_a_number_or_auto(tmp_path: Path, toml: str, environ: dict[str, str], workers: int | str) -> None:
    assert settings_of(tmp_path, toml, **environ).workers == workers


@pytest.mark.parametrize("value", ["0", "65", "many", "1.5", ""])
def test_other_numbers_of_workers_are_refused(tmp_path: Path, value: str) -> None:
    (problem,) = problems_of(tmp_path, RUNNER_WORKERS=value)
    assert "a number of processes, from 1 to 64, or `auto`" in problem.message


def test_toml_that_is_none_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    problem = problems_of(tmp_path, "state_dir = \n")[0]
    assert (problem.code, str(problem.where)) == ("toml-syntax", "runner.toml:1:13")


# -- .env --------------------------------------------------------------------------------------------------------------


def test_dotenv_never_overrides_the_environment(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "", "A=file\nB=file\n", A="process")
    assert settings.environment["A"] == "process"
    assert settings.environment["B"] == "file"


def test_dotenv_is_taken_literally(tmp_path: Path) -> None:
    environment = settings_of(tmp_path, "", "export A='x y'\nB=$A-${A}\n# C=1\nD=\nE\n").environment
    assert environment == {"A": "x y", "B": "$A-${A}", "D": "", "E": ""}


@pytest.mark.parametrize("name", [".env", "runner.toml"])
def test_a_file_that_is_not_utf_8_is_told_with_its_line_and_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"# caf\xc3\xa9\nSECRET='\xff'\n")
    with pytest.raises(SpecError) as raised:
        load_settings(tmp_path, {})
    (problem,) = raised.value.problems
    assert (problem.code, str(problem.where)) == ("not-utf8", f"{name}:2")
    assert "SECRET" not in str(raised.value)


def test_a_line_of_dotenv_that_is_none_is_told_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    problem = problems_of(tmp_path, "", "A=1\nB='secret\n")[0]
    assert (problem.code, str(problem.where)) == ("bad-dotenv", ".env:2:1")
    assert "secret" not in str(problem.to_dict())
    assert problem.where is not None
    assert problem.where.source is None


ADDRESS = {"ANTHROPIC_BASE_URL": "https://elsewhere.example"}


def test_dotenv_gives_no_address_to_a_credential_of_the_environment() -> None:
    merged = merged_environment({"ANTHROPIC_API_KEY": "mine"}, {**ADDRESS, "ANTHROPIC_AUTH_TOKEN": "theirs"})
    assert "ANTHROPIC_BASE_URL" not in merged


def test_dotenv_gives_no_address_without_a_credential() -> None:
    assert "ANTHROPIC_BASE_URL" not in merged_environment({}, ADDRESS)


def test_dotenv_gives_its_own_address_with_its_own_credential() -> None:
    merged = merged_environment({}, {**ADDRESS, "ANTHROPIC_API_KEY": "theirs"})
    assert merged["ANTHROPIC_BASE_URL"] == "https://elsewhere.example"


def test_dotenvs_key_cannot_bring_its_address_to_the_environments_key() -> None:
    merged = merged_environment({"ANTHROPIC_API_KEY": "mine"}, {**ADDRESS, "ANTHROPIC_API_KEY": "theirs"})
    assert merged == {"ANTHROPIC_API_KEY": "mine"}


def test_the_environments_own_address_stays() -> None:
    assert merged_environment(ADDRESS, {"ANTHROPIC_API_KEY": "k"}) == {**ADDRESS, "ANTHROPIC_API_KEY": "k"}


def test_secrets_are_not_in_the_repr(tmp_path: Path) -> None:
    assert "sk-secret" not in repr(settings_of(tmp_path, "", "ANTHROPIC_API_KEY=sk-secret\n"))


def test_paths_are_shown_from_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "jobs" / ".." / "jobs" / "a.yaml") == "jobs/a.yaml"
    assert shown_path(tmp_path.parent / "b.yaml") == str(tmp_path.parent / "b.yaml")


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "most"), [("batch_max_requests", MAX_BATCH_REQUESTS), ("batch_max_bytes", MAX_BATCH_BYTES)]
)
def test_no_batch_may_be_larger_than_the_api_takes_it(tmp_path: Path, name: str, most: int) -> None:
    assert getattr(settings_of(tmp_path), name) < most
    assert getattr(settings_of(tmp_path, f"{name} = {most}\n"), name) == most
    for wrong in (most + 1, 0):
        (problem,) = problems_of(tmp_path, f"{name} = {wrong}\n")
        assert f"from 1 to {most:,}" in problem.message


def test_the_page_on_batch_mode_has_every_setting_of_it_with_its_default() -> None:
    page = (ROOT / "docs" / "batch.md").read_text()
    told: dict[str, float] = {}
    for names, defaults in re.findall(r"^\| (`batch_[^|]*) \| ([\d, ]+) \|", page, re.MULTILINE):
        told |= dict(zip(re.findall(r"`(\w+)`", names), map(float, defaults.split(",")), strict=True))
    assert told == {field.name: field.default for field in fields(Settings) if field.name.startswith("batch_")}
