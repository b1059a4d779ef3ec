"""Kinds find their classes; broken, contested and unknown ones are told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from runner import plugins
from runner.datasets.text import TextDataset
from runner.errors import SpecError
from runner.sinks.files import FileSink
from runner.sinks.stdout import StdoutSink


def install(folder: Path, name: str, entry_points: str, **modules: str) -> None:
    """Make a distribution as pip leaves it in a folder on the path."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


GOOD = """
from pydantic import BaseModel
class Moon:
    class Options(BaseModel):
        phase: str
"""


@pytest.mark.parametrize(
    ("group", "table"), [("dataset", plugins.DATASETS), ("sink", plugins.SINKS), ("provider", plugins.PROVIDERS)]
)
def test_every_built_in_loads_and_has_frozen_options(group: plugins.Group, table: Mapping[str, object]) -> None:
    for kind in table:
        plugin = plugins.find(group, kind)
        assert plugin.distribution is None
        assert isinstance(plugin.load(), type)
        assert plugin.options().model_config["frozen"]
        assert plugin.options().model_config["extra"] == "forbid"


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "stdin"])
def test_text_formats_are_built_in_datasets(kind: str) -> None:
    plugin = plugins.find_dataset(kind)
    assert plugin.load() is TextDataset
    assert plugin.options() is TextDataset.Options


@pytest.mark.parametrize(
    ("kind", "sink"), [("csv", FileSink), ("tsv", FileSink), ("jsonl", FileSink), ("stdout", StdoutSink)]
)
def test_files_and_stdout_are_built_in_sinks(kind: str, sink: type[FileSink | StdoutSink]) -> None:
    plugin = plugins.find_sink(kind)
    assert plugin.load() is sink
    assert issubclass(plugin.options(), sink.Options)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("data/a.csv", "csv"),
        ("a.CSV.GZ", "csv"),
        ("s3://bucket/a.b/c.jsonl.zst", "jsonl"),
        ("data/*.ndjson", "jsonl"),
        ("a.tab.xz", "tsv"),
        ("notes.ods", "ods"),
        ("data/*", None),
        ("a.b/c", None),
        ("a.*", None),
        ("a.gz", None),
        ("-", None),
    ],
)
def test_a_suffix_tells_the_kind(path: str, kind: str | None) -> None:
    assert plugins.kind_of(path) == kind


def test_a_dash_is_stdin_for_datasets_and_stdout_for_sinks() -> None:
    assert plugins.dataset_for("-").kind == "stdin"
    assert plugins.sink_for("-").kind == "stdout"


def test_a_source_is_found_by_the_key_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_BUILT_IN", {"dataset": {**plugins.DATASETS, "sql": ("a:B", "c:D")}})
    assert plugins.dataset_from("path", "rows.csv").kind == "csv"
    assert plugins.dataset_from("sql", "").class_ref == "c:D"


def test_a_file_named_like_a_source_holds_no_rows() -> None:
    with pytest.raises(SpecError) as caught:
        plugins.dataset_for("queries/rows.sql")
    assert caught.value.code == "unknown-kind"


def test_a_path_without_suffix_names_the_formats() -> None:
    with pytest.raises(SpecError) as caught:
        plugins.sink_for("out/result")
    assert caught.value.code == "unknown-format"
    assert caught.value.hint == "end it in one of .arrow, .csv, .jsonl, .parquet, .tsv, .xlsx"


@pytest.mark.parametrize("url", ["sqlite:///out/a.db", "postgresql+psycopg://me:hunter2@h/d"])
def test_a_database_under_path_is_told_where_it_goes(url: str) -> None:
    with pytest.raises(SpecError) as caught:
        plugins.sink_for(url)
    (problem,) = caught.value.problems
    assert problem.hint == "`url: …` and `table: …` instead of `path`"
    assert "hunter2" not in str(problem)


def test_an_unknown_kind_names_near_matches() -> None:
    with pytest.raises(SpecError) as caught:
        plugins.dataset_for("data/a.jsnl")
    assert caught.value.code == "unknown-kind"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean `jsonl`?")


def test_a_plugin_of_another_distribution_is_found_by_its_kind(site: Path) -> None:
    install(site, "moonlight", "[runner.datasets]\nmoon = moonlight_rows:Moon\n", moonlight_rows=GOOD)
    plugin = plugins.find_dataset("moon")
    assert plugin.distribution == "moonlight"
    assert plugin.load().__name__ == "Moon"
    assert set(plugin.options().model_fields) == {"phase"}
    assert "moon" in plugins.kinds("dataset")


def test_a_built_in_kind_is_never_taken_over(site: Path) -> None:
    install(site, "thief", "[runner.datasets]\ncsv = thief_rows:Moon\n", thief_rows=GOOD)
    assert plugins.find_dataset("csv").distribution is None


def test_two_distributions_of_one_kind_are_both_named(site: Path) -> None:
    install(site, "moonlight", "[runner.sinks]\nmoon = a:Moon\n")
    install(site, "eclipse", "[runner.sinks]\nmoon = b:Moon\n")
    with pytest.raises(SpecError, match="claimed by eclipse and by moonlight"):
        plugins.find_sink("moon")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise RuntimeError('no moon today')", "RuntimeError: no moon today"),
        ("", "AttributeError"),
        ("Moon = 3", "is not a class"),
        ("import moonstone_is_not_installed", "ModuleNotFoundError"),
    ],
)
def test_a_broken_plugin_names_its_distribution_when_it_is_used(site: Path, source: str, why: str) -> None:
    module = f"broken_{abs(hash(why))}"
    install(site, "moonlight", f"[runner.sinks]\nmoon = {module}:Moon\n", **{module: source})
    plugin = plugins.find_sink("moon")  # finding it is no error
    with pytest.raises(SpecError) as caught:
        plugin.load()
    assert caught.value.code == "broken-plugin"
    assert "'moon' of moonlight does not load" in caught.value.message
    assert why in caught.value.message


def test_a_plugin_without_options_is_broken(site: Path) -> None:
    install(site, "moonlight", "[runner.sinks]\nmoon = bare_moon:Moon\n", bare_moon="class Moon:\n    Options = dict\n")
    with pytest.raises(SpecError, match="is not a pydantic model"):
        plugins.find_sink("moon").options()


def test_options_are_loaded_without_the_reader() -> None:
    code = """
import sys
from runner import plugins
plugins.dataset_for("a.csv").options()
plugins.sink_for("-").options()
heavy = {"zstandard", "runner.datasets.text", "runner.sinks.files"} & set(sys.modules)
sys.exit(str(heavy) if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
