from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from runner.errors import SpecError
from runner.settings import load_settings
from runner.spec.load import LoadedJob, load
from runner.templating import TemplateFailure
from support.projects import JOB, make_project

FULL = (
    JOB
    + """\
system:
  - "Tone: {{ vars.tone }}"
  - {file: data/rules.md, cache: 1h}
vars: {tone: strict}
assets: {examples: data/examples.jsonl}
output: {labels: [good, bad]}
limits: {max_cost_usd: "${CAP}"}
sinks: "out/{{ run.id }}.jsonl"
"""
)
FILES = {"data/rules.md": "Be fair.\n", "data/examples.jsonl": '{"a": "\\ud83d"}\n'}


def stored(root: Path) -> tuple[LoadedJob, Path]:
    job = load(make_project(root, job=FULL, files=FILES), environ={"CAP": "5"})
    job.store(root / "run" / "inputs")
    return job, root / "run" / "inputs"


def test_a_restored_job_equals_the_stored_one_without_the_project(tmp_path: Path) -> None:
    job, folder = stored(tmp_path)
    for name in ("jobs", "templates", "data"):
        shutil.rmtree(tmp_path / name)
    restored = LoadedJob.restore(folder, load_settings(tmp_path, {"CAP": "5"}))
    assert restored.job == job.job
    assert restored.resolved == job.resolved
    assert restored.templates.digest == job.templates.digest
    assert (restored.files, restored.assets, restored.schema) == (job.files, job.assets, job.schema)
    assert (restored.path, restored.root, restored.profile) == (job.path, job.root, job.profile)
    assert restored.context == job.context


def test_secrets_are_not_stored(tmp_path: Path) -> None:
    job = load(
        make_project(tmp_path, job=FULL, files=FILES), environ={"CAP": "4711.5", "ANTHROPIC_API_KEY": "sk-secret"}
    )
    job.store(tmp_path / "inputs")
    text = "".join(path.read_text() for path in (tmp_path / "inputs").iterdir())
    assert "4711" not in text
    assert "sk-secret" not in text
    assert "${CAP}" in text


def test_what_is_stored_is_its_owners_alone(tmp_path: Path) -> None:
    _, folder = stored(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_secrets_are_taken_anew_when_a_job_is_restored(tmp_path: Path) -> None:
    _, folder = stored(tmp_path)
    assert LoadedJob.restore(folder, load_settings(tmp_path, {"CAP": "9"})).job.limits.max_cost_usd == 9
    with pytest.raises(SpecError) as raised:
        LoadedJob.restore(folder, load_settings(tmp_path, {}))
    assert [problem.code for problem in raised.value.problems] == ["unset-variable"]


def test_of_a_sink_without_its_variable_only_the_variable_is_told_when_a_job_is_restored(tmp_path: Path) -> None:
    job = JOB + 'sinks:\n  - url: "${HOOK}"\n'
    load(make_project(tmp_path, job=job), environ={"HOOK": "https://example.com/"}).store(tmp_path / "inputs")
    with pytest.raises(SpecError) as raised:
        LoadedJob.restore(tmp_path / "inputs", load_settings(tmp_path, {}))
    assert [problem.code for problem in raised.value.problems] == ["unset-variable"]


def test_a_job_of_another_format_is_refused(tmp_path: Path) -> None:
    _, folder = stored(tmp_path)
    about = folder / "job.json"
    about.write_text(about.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(SpecError, match="format 2"):
        LoadedJob.restore(folder, load_settings(tmp_path, {"CAP": "5"}))


def test_values_are_located_in_the_job_and_when_restored_by_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job, folder = stored(tmp_path)
    assert str(job.locate(("system", 1, "cache"))) == "jobs/sentiment.yaml:7:34"
    assert str(job.locate(("system", 1, "cache"), key=True)) == "jobs/sentiment.yaml:7:27"
    assert str(job.locate(("messages", 0, "content", 0))) == "jobs/sentiment.yaml:3:9"
    restored = LoadedJob.restore(folder, load_settings(tmp_path, {"CAP": "5"}))
    assert str(restored.locate(("system", 1))) == "jobs/sentiment.yaml"


def test_failures_of_templates_are_placed_in_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job, folder = stored(tmp_path)
    inline, file = job.job.system[0].name, "review.md.j2"
    for name, place in ((inline, "jobs/sentiment.yaml:6:5"), (file, "templates/review.md.j2:1:1")):
        with pytest.raises(TemplateFailure) as raised:
            job.templates.template(name).render({"vars": {}, "row": {}})
        assert str(job.place(raised.value)) == place
    restored = LoadedJob.restore(folder, load_settings(tmp_path, {"CAP": "5"}))
    assert str(restored.place(raised.value)).startswith("review.md.j2:1")


def test_paths_are_rendered_where_they_are_templates(tmp_path: Path) -> None:
    job, folder = stored(tmp_path)
    restored = LoadedJob.restore(folder, load_settings(tmp_path, {"CAP": "5"}))
    for each in (job, restored):
        assert each.render_path(("sinks", 0, "path"), {"run": {"id": "r1"}}) == "out/r1.jsonl"
        assert each.render_path(("dataset", "path"), {}) == "data/reviews.csv"
