"""The job's models as a JSON Schema for editors, and as a reference page.

Owns   `json_schema` (draft-07, what the YAML language server reads best) and `job_reference` (markdown). Both are made
       from the models alone, so that what an editor offers is what `load` takes: short forms too, and no key that is
       not supported yet.
Knows  the models; not how jobs are read.

The order of everything is that of the models, so the same models give the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from pydantic.json_schema import PydanticJsonSchemaWarning

from runner.catalog.parameters import ABOUT, TAKEN
from runner.spec.job import Job, JobFile, Limits
from runner.spec.model import Model
from runner.spec.output import FIELD_TYPES
from runner.spec.reply import Output
from runner.spec.shape import FieldShape, field_shapes
from runner.spec.tool_schema import tool_schema, tools_reference

_VARIABLE = {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}$"}
"""`${NAME}` may stand for a whole value under `limits` (`spec.environment`)."""
_FIRST = ("name", "description", "extends", "model", "params", "system", "vars", "assets", "prompt", "messages")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a job file."""
    with warnings.catch_warnings():
        # Defaults that JSON has no form for are left out; their descriptions name them.
        warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
        made = JobFile.model_json_schema(ref_template="#/definitions/{model}")
    definitions = made.pop("$defs")
    for model in _models(JobFile):
        if model is not JobFile:
            definitions[model.__name__] = _model(model, definitions[model.__name__])
    root = _model(JobFile, made)
    root["properties"]["params"] |= _params()
    tools = root["properties"]["tools"]
    tools["anyOf"] = [{"$ref": "#/definitions/Tool"}, {"type": "array", "items": {"$ref": "#/definitions/Tool"}}]
    definitions["Tool"] = tool_schema()
    definitions[Output.__name__]["properties"]["fields"]["additionalProperties"] = {"$ref": "#/definitions/Field"}
    definitions["Field"] = _FIELD
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A job of runner",
        **root,
        "definitions": dict(sorted(definitions.items())),
    }


def _params() -> dict[str, Any]:
    properties = {name: {"description": ABOUT[name], **shape.json_schema()} for name, shape in TAKEN.items()}
    return {"properties": properties, "additionalProperties": False}


_BEFORE_TYPES = ("", "optional ", "list of ", "optional list of ")
_FIELD: Mapping[str, Any] = {
    "description": "What a field holds: a type, the values it may have, a list, or an object.",
    "anyOf": [
        {"enum": [f"{before}{name}" for before in _BEFORE_TYPES for name in FIELD_TYPES]},
        {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [{"type": ["string", "number", "boolean", "null"]}, {"$ref": "#/definitions/Field"}]},
        },
        # Any JSON Schema, which `check` reads; else an object of fields.
        {"type": "object", "minProperties": 1, "required": ["type"]},
        {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/definitions/Field"}},
    ],
}
"""The grammar of `output.fields`, as `spec.output` has it."""


def ordered_keys(model: type[Model]) -> list[str]:
    """The keys of a model as people read them: what it is called and asks first."""
    keys = list(field_shapes(model))
    return (
        [*(key for key in _FIRST if key in keys), *(key for key in keys if key not in _FIRST)]
        if model is JobFile
        else keys
    )


def _model(model: type[Model], made: Mapping[str, Any]) -> dict[str, Any]:
    """One model's schema: short forms beside the long one, rivals excluded."""
    shapes = field_shapes(model)
    schema: dict[str, Any] = {"type": "object", "description": _about(model)}
    schema["properties"] = {key: _property(model, shapes[key], made["properties"][key]) for key in ordered_keys(model)}
    if model is JobFile:
        # Nothing is required of a file: a base or the project's settings may give it.
        schema["not"] = {"required": list(JobFile.one_of[0])}
        schema["patternProperties"] = {"^x-": {"description": "Ignored: a place for anchors and notes."}}
    else:
        schema.update(_requirements(model, made))
    schema["additionalProperties"] = False
    if model.short is None:
        return schema
    return {"description": schema.pop("description"), "anyOf": [{"type": "string", "minLength": 1}, schema]}


def _requirements(model: type[Model], made: Mapping[str, Any]) -> dict[str, Any]:
    required: dict[str, Any] = {"required": made["required"]} if "required" in made else {}
    for group in model.one_of:
        usable = [key for key in group if key in field_shapes(model)]
        if len(usable) == 1 and model.needs_choice:
            required["required"] = sorted({*required.get("required", ()), *usable})
        elif len(usable) > 1 and model.needs_choice:
            required["oneOf"] = [{"required": [key]} for key in usable]
        elif len(usable) > 1:
            required["not"] = {"anyOf": [{"required": list(pair)} for pair in combinations(usable, 2)]}
            required["minProperties"] = 1
    return required


def _property(model: type[Model], shape: FieldShape, made: Mapping[str, Any]) -> dict[str, Any]:
    schema = {key: value for key, value in made.items() if key not in ("title", "default")}
    options = [option for option in schema.pop("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        schema = {**options[0], **schema}
    elif options:
        schema["anyOf"] = options
    default = made.get("default")
    if isinstance(default, str | int | float | bool) and default not in ("", ()):
        schema["default"] = default
    if shape.many and shape.single:
        item = schema.pop("items")
        long = {"type": schema.pop("type"), "items": item}
        if "minItems" in schema:
            long["minItems"] = schema.pop("minItems")
        schema["anyOf"] = [item, long]
    elif model is Limits:
        value = {key: schema.pop(key) for key in list(schema) if key not in ("description", "examples", "default")}
        schema["anyOf"] = [*(value.pop("anyOf", None) or [value]), _VARIABLE]
    if "$ref" in schema:
        # Draft-07 ignores what stands beside a reference.
        schema["allOf"] = [{"$ref": schema.pop("$ref")}]
    return schema


def _models(model: type[Model]) -> Iterator[type[Model]]:
    """A model and all that its fields hold, each once, in the order of the fields."""
    seen: dict[type[Model], None] = {}
    pending = [model]
    while pending:
        here = pending.pop(0)
        if here not in seen:
            seen[here] = None
            shapes = field_shapes(here)
            pending.extend(shape.model for key in ordered_keys(here) if (shape := shapes[key]).model is not None)
    yield from seen


def job_reference() -> str:
    """The reference of all keys, as markdown."""
    parts = ["# The job file, key by key", "", _INTRODUCTION]
    for model in _models(JobFile):
        parts += ["", f"## {_TITLES[model.__name__]}", "", _about(model), "", *_table(model)]
        if model is JobFile:
            parts += ["", "## `params`", "", _ABOUT_PARAMS, "", *_params_table()]
            parts += ["", "## `tools`", "", *tools_reference()]
    return "\n".join(parts) + "\n"


_ABOUT_PARAMS = """Parameters of the Messages API by their own names. `max_tokens` is required; others that the API has
are refused with the reason."""


def _params_table() -> list[str]:
    rows = ["| key | takes | meaning |", "|---|---|---|"]
    for name, shape in TAKEN.items():
        needed = " (required)" if name == "max_tokens" else ""
        rows.append(f"| `{name}`{needed} | {_takes_param(shape.json_schema())} | {ABOUT[name]} |")
    return rows


def _takes_param(schema: Mapping[str, Any]) -> str:
    match schema:
        case {"enum": words}:
            return ", ".join(f"`{word}`" for word in words)
        case {"anyOf": [*kinds]} if any("const" not in kind.get("properties", {}).get("type", {}) for kind in kinds):
            return " or ".join(map(_takes_param, kinds))
        case {"anyOf": [*kinds]}:
            return "mapping with `type` " + ", ".join(f"`{kind['properties']['type']['const']}`" for kind in kinds)
        case {"type": "object", "properties": fields}:
            return "mapping with " + ", ".join(f"`{name}`: {_takes_param(field)}" for name, field in fields.items())
        case {"type": "array", "items": item}:
            return f"list of {_takes_param(item)}"
        case {"type": str(kind)}:
            return _WORDS.get(kind, kind)
    raise AssertionError(schema)


_INTRODUCTION = """Made from the models that read a job; `make docs` writes it anew. A key that takes a list and says
*or one* takes a single item without brackets. Keys of the top level that begin with `x-` are ignored.
[Batch mode](batch.md) and [replies that are no answer](asking-again.md) have pages of their own."""

_TITLES = {
    "JobFile": "A job",
    "Block": "A block of content",
    "DocumentSource": "`document`",
    "Message": "`messages`",
    "TextSource": "`turns`",
    "VoteSpec": "`output.vote`",
    "CrossedDataset": "`dataset.cross`",
    "Dataset": "`dataset`",
    "SqlText": "`dataset.sql` and `dataset.query`",
    "Sample": "`dataset.sample`",
    "Output": "`output`",
    "Extract": "`output.extract`",
    "Rule": "`output.rules`",
    "LargerLimits": "`output.on_truncation`",
    "OtherModel": "`output.on_refusal`",
    "Limits": "`limits`",
    "Retry": "`retry`",
    "ProviderSpec": "`provider`",
    "SinkSpec": "`sinks`",
}


def _table(model: type[Model]) -> list[str]:
    shapes = field_shapes(model)
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    properties = json_schema()
    schema = properties if model is JobFile else properties["definitions"][model.__name__]
    if "anyOf" in schema:
        schema = schema["anyOf"][-1]
    required = ("model", "dataset") if model is JobFile else schema.get("required", ())
    rows = ["| key | takes | meaning |", "|---|---|---|"]
    for key in ordered_keys(model):
        meaning = _text(fields[key].description)
        examples = fields[key].examples or ()
        if examples:
            meaning += f" Example: {', '.join(f'`{_yaml(example)}`' for example in examples)}."
        needed = " (required)" if key in required else ""
        meaning = meaning.replace("|", "\\|")
        rows.append(f"| `{key}`{needed} | {_takes(shapes[key], schema['properties'][key])} | {meaning} |")
    return rows


def _takes(shape: FieldShape, schema: Mapping[str, Any]) -> str:
    """A few words for what a key takes."""
    if shape.model is not None:
        noun = {
            "Block": "text or a block",
            "DocumentSource": "path, address, file id, or a mapping",
            "Message": "message",
            "TextSource": "text or a block of text",
            "VoteSpec": "field",
            "SinkSpec": "path or a sink",
            "ProviderSpec": "name or mapping",
            "Rule": "expression or mapping",
        }.get(shape.model.__name__, "mapping" if shape.model.short is None else "path or mapping")
        if shape.named:
            return f"mapping of names to: {noun}"
        if not shape.many:
            beside = [value for option in schema.get("anyOf", ()) for value in option.get("enum", ())]
            return " or ".join([", ".join(f"`{word}`" for word in beside), noun]) if beside else noun
        return f"list of: {noun}" + (" (*or one*)" if shape.single else "")
    if shape.many and shape.single:
        item = schema["anyOf"][0].get("type")
        return f"list of {'whole numbers' if item == 'integer' else 'text'} (*or one*)"
    if "enum" in schema:
        return ", ".join(f"`{_yaml(value)}`" for value in schema["enum"])
    kinds = [str(option.get("type", "value")) for option in schema.get("anyOf", [schema]) if option != _VARIABLE]
    words = dict.fromkeys(_WORDS.get(kind, kind) for kind in kinds)
    return " or ".join(words)


_WORDS = {"string": "text", "object": "mapping", "array": "list", "integer": "whole number", "boolean": "true or false"}


def _yaml(value: Any) -> str:
    """A value in YAML's flow style, as an example shows it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    return str(value)


def _about(model: type[Model]) -> str:
    """What a model says of itself. That a file may hold less than a job is no news to those who write one."""
    return _text(Job.__doc__ if model is JobFile else model.__doc__)


def _text(text: str | None) -> str:
    return " ".join((text or "").split())
