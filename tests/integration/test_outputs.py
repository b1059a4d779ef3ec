"""Outputs on the command line, against the stand-in: what is sent, checked, extracted and told, in both modes."""

from __future__ import annotations

import json

import pytest

from support.api import SimulatedApi
from support.harness import Project

BOUNDED = """
  schema: schemas/review.yaml
  repair: 0
  rules:
    - output.note | length > 0
    - {rule: "row.id != 'k2'", severity: warn, message: "k2 is looked at by hand"}
"""
SCHEMA = """\
$defs: {Score: {type: integer, minimum: 1, maximum: 5}}
type: object
properties:
  score: {$ref: "#/$defs/Score"}
  note: {type: string, maxLength: 40}
required: [score, note]
"""


def bounded(project: Project, mode: str) -> None:
    project.write("schemas/review.yaml", SCHEMA)
    project.job(
        "x",
        replaced={
            "  fields:\n    label: [good, bad]\n": BOUNDED.lstrip("\n") + "\n",
            "limits:": f"mode: {mode}\nlimits:",
        },
    )


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_replies_within_what_was_sent_are_held_to_the_whole_schema(
    project: Project, api: SimulatedApi, mode: str
) -> None:
    bounded(project, mode)
    api.fault("off_told", text="text number 5", **({"path": "batch_row"} if mode == "batch" else {}))
    summary = project.run("jobs/x.yaml")
    assert summary["failures"] == {"schema_mismatch": 1}
    failed = project.records()[5]
    assert failed["error"]["message"] == "/score: expected at most 5, found 6"
    assert json.loads(failed["text"])["score"] == 6
    assert all(1 <= record["output"]["score"] <= 5 for record in project.records() if record["output"])
    assert "the rule `row.id != 'k2'` does not hold for 1 row" in summary["warnings"]


def test_what_is_sent_is_rendered_as_it_is_sent(project: Project) -> None:
    bounded(project, "parallel")
    pair = "  pair: {type: array, prefixItems: [{type: integer}, {type: boolean}], items: false}\n"
    project.write("schemas/review.yaml", SCHEMA.replace("required:", f"{pair}required:"))
    done = project.runner("render", "jobs/x.yaml", "--limit", "1")
    schema = json.loads(done.stdout.splitlines()[0])["output_config"]["format"]["schema"]
    assert schema["$defs"] == {"Score": {"type": "integer", "description": "(minimum: 1; maximum: 5)"}}
    assert schema["properties"]["note"] == {"type": "string", "description": "(maxLength: 40)"}
    assert schema["properties"]["pair"]["items"] == {"anyOf": [{"type": "integer"}, {"type": "boolean"}]}


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_an_output_is_taken_out_of_running_text(project: Project, mode: str) -> None:
    extract = (
        "  extract: {regex: '\\[echo (?P<digest>[0-9a-f]+)\\] (?P<words>\\w+)'}\n  rules: output.digest | length > 5\n"
    )
    project.job("x", replaced={"  fields:\n    label: [good, bad]\n": extract, "limits:": f"mode: {mode}\nlimits:"})
    summary = project.run("jobs/x.yaml")
    assert summary["rows"]["succeeded"] == 12
    for record in project.records():
        assert record["text"].startswith(f"[echo {record['output']['digest']}] {record['output']['words']}")
