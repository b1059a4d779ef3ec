from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from runner.catalog.parameters import TAKEN
from runner.spec.content import Message, TextSource
from runner.spec.dataset import Dataset, Sample
from runner.spec.job import JobFile, Limits, Retry
from runner.spec.model import Model
from runner.spec.node import plain
from runner.spec.reply import Output
from runner.spec.schema import job_reference, json_schema
from runner.spec.shape import field_shapes
from runner.spec.sink import SinkSpec
from runner.spec.source import parse_yaml

MODELS: list[type[Model]] = [JobFile, TextSource, Message, Dataset, Sample, Output, Limits, Retry, SinkSpec]
EXAMPLES = Path(__file__).parents[2] / "runner" / "examples" / "jobs"


def fits(text: str) -> bool:
    return Draft7Validator(json_schema()).is_valid(plain(parse_yaml(text, "j")))


def test_it_is_a_draft_07_schema_and_the_same_each_time() -> None:
    schema = json_schema()
    Draft7Validator.check_schema(schema)
    assert json.dumps(schema) == json.dumps(json_schema())
    assert "$defs" not in json.dumps(schema)


@pytest.mark.parametrize(
    "text",
    [
        "{prompt: a.j2, dataset: a.csv, model: m}",
        "{prompt: [a.j2, {text: hello, cache: true}], system: {file: a.md, cache: 1h}}",
        "{messages: [{content: hi}, {role: assistant, content: [{template: a.j2}]}]}",
        "{dataset: {path: a.csv, key: id, sample: {rows: 5}}, sinks: [a.csv, {path: b.csv, include_row: [x]}]}",
        "{dataset: {path: a.csv, key: [a, b]}, sinks: a.csv, limits: {max_failures: 5%, allow_failures: 3}}",
        "{limits: {max_cost_usd: '${CAP}', max_concurrency: '${N:-5}'}, retry: {initial_interval: 500ms}}",
        "{output: {fields: {a: string}}, x-anything: {b: 1}, extends: _base.yaml}",
        "{output: {schema: a.json}}",
        "{mode: batch, limits: {deadline: 6h}}",
        "{output: {schema: {type: object}}}",
        "{params: {max_tokens: 5, output_config: {effort: low}, thinking: {type: adaptive, display: omitted}}}",
        "{params: {thinking: {type: enabled, budget_tokens: 2048}, betas: [a], stop_sequences: [x]}}",
        "{output: {fields: {a: optional string, b: [x, 5, null], c: [string], d: {e: number}, f: {type: string}}}}",
    ],
)
def test_what_load_takes_fits(text: str) -> None:
    assert fits(text)


@pytest.mark.parametrize(
    "text",
    [
        "{promt: a}",
        "{prompt: a, messages: [{content: b}]}",
        "{prompt: {text: a, file: b}}",
        "{prompt: {cache: true}}",
        "{turns: [7]}",
        "{samples: 0}",
        "{output: {vote: 3}}",
        "{limits: {max_cost_usd: 0}}",
        "{limits: {requests_per_minute: 0}}",
        "{retry: {initial_interval: 5}}",
        "{output: {fields: {a: string}, labels: [a, b]}}",
        "{dataset: {key: id}}",
        "{prompt: {text: a, name: b}}",
        "{params: {max_token: 5}}",
        "{params: {temperature: 1}}",
        "{params: {max_tokens: '5'}}",
        "{params: {max_tokens: 0}}",
        "{params: {output_config: {effort: lo}}}",
        "{params: {thinking: {type: enabled}}}",
        "{params: {thinking: {type: maybe}}}",
        "{params: {betas: b}}",
        "{output: {fields: {a: strng}}}",
        "{output: {fields: {a: []}}}",
        "{output: {fields: {a: {b: strng}}}}",
    ],
)
def test_what_load_refuses_does_not_fit(text: str) -> None:
    assert not fits(text)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("[!_]*.yaml")), ids=lambda path: path.stem)
def test_the_examples_fit(path: Path) -> None:
    assert fits(path.read_text())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_described_and_no_key_is_both_there_and_later(model: type[Model]) -> None:
    fields = {info.alias or name: info for name, info in model.model_fields.items() if not info.exclude}
    assert all(info.description for info in fields.values())
    assert not model.later & field_shapes(model).keys()
    assert model.__doc__


def test_every_parameter_is_described() -> None:
    parameters = json_schema()["properties"]["params"]["properties"]
    reference = job_reference()
    assert list(parameters) == list(TAKEN)
    assert all(parameter["description"] for parameter in parameters.values())
    assert all(f"| `{name}`" in reference for name in TAKEN)


def test_the_reference_names_every_key() -> None:
    reference = job_reference()
    for model in MODELS:
        for key in field_shapes(model):
            assert f"| `{key}`" in reference
