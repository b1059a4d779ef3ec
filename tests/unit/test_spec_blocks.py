"""What a block may say: the rules that broken jobs show are in `tests/snapshot/test_bad_jobs.py`; here is the rest."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from runner.errors import MissingExtras, SpecError
from runner.planning.compile import compile_job
from runner.types import Request, Row
from support.harness import ROOT
from support.job_project import load_job
from support.media import pdf, picture

JOB = """\
model: claude-haiku-5-5
params: {max_tokens: 100}
prompt: [%s, "{{ row.text }}"]
dataset: {path: data.csv, key: id}
"""


WIDE = picture(8_100, 20)


@pytest.fixture
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)


@pytest.mark.usefixtures("without_pillow")
def test_without_pillow_asking_for_it_is_an_error_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(MissingExtras) as raised:
        load_job(tmp_path, JOB % "{image: 'https://example.org/{{ row.id }}.png', resize: fit}")
    (problem,) = raised.value.problems
    assert (problem.code, problem.hint) == ("missing-extra", 'pip install "rowrunner[media]"')


@pytest.mark.usefixtures("without_pillow")
def test_without_pillow_images_that_may_be_too_large_are_warned_of(tmp_path: Path) -> None:
    image = "'https://example.org/{{ row.id }}.png'"
    (warning,) = load_job(tmp_path / "a", JOB % f"{{image: {image}}}").warnings
    assert (warning.code, "resize: refuse" in str(warning.hint)) == ("cannot-scale", True)
    assert load_job(tmp_path / "b", JOB % f"{{image: {image}, resize: refuse}}").warnings == ()
    assert load_job(tmp_path / "c", JOB % "text").warnings == ()


@pytest.mark.usefixtures("without_pillow")
def test_without_pillow_an_image_of_the_job_that_is_too_large_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(WIDE)
    with pytest.raises(SpecError) as raised:
        load_job(tmp_path, JOB % "{image: wide.png}")
    (problem,) = raised.value.problems
    assert (problem.code, "rowrunner[media]" in str(problem.hint)) == ("image-too-large", True)


def test_the_example_of_the_page_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "blocks.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for name in ("docs/policy.pdf", "claims/7.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(pdf(1))
    head = "model: claude-haiku-5-5\nparams: {max_tokens: 100}\ndataset: {path: data.csv, key: id}\n"
    job = compile_job(load_job(tmp_path, head + example), mode="batch")
    remarks = [{"by": "Ann", "text": "late"}, {"by": "Ben", "text": ""}]
    row = Row("7", 0, {"id": "7", "claim": "claims/7.pdf", "photos": None, "remarks": remarks})
    request = job.request(row)
    assert isinstance(request, Request)
    blocks = json.loads(request.body)["messages"][0]["content"]
    assert [block["type"] for block in blocks] == ["document", "document", "text", "text"]


def test_with_pillow_nothing_is_warned_of(tmp_path: Path) -> None:
    assert load_job(tmp_path, JOB % "{image: 'https://example.org/{{ row.id }}.png'}").warnings == ()


def test_a_file_of_the_job_that_is_not_there_is_fine_where_it_is_optional(tmp_path: Path) -> None:
    job = load_job(tmp_path, JOB % "{image: none.png, optional: true}")
    assert dict(job.media) == {}
