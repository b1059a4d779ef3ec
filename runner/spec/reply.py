"""What a reply must be, as a job writes it: its output, the rules for it, and what is done where it is no answer.

Knows  nothing of replies; `replies` judges them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from runner.rounds import MAX_LIMITS, MAX_REPAIRS
from runner.spec.model import Model, OneOrMany

XML_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.:-]*$"
"""The names of XML 1.0 elements (section 2.3), of ASCII letters."""


class Extract(Model):
    """Where in a reply's text the output stands, for models and texts without structured outputs."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("regex", "json", "xml_tag"),)

    regex: str | None = Field(
        None,
        min_length=1,
        description="A regular expression (RE2's: no look-around). Named groups make an object; the text of one group, "
        "or of the whole match, is the output itself. Its first match counts. Needs the `regex` extra.",
        examples=["Score: (?P<score>[0-9]+)"],
    )
    json_: Literal[True, "first", "last"] | None = Field(
        None,
        alias="json",
        description="The JSON object or list in the text, fenced or not: `true` where there has to be exactly one, "
        "`first` or `last` where there may be more.",
    )
    xml_tag: str | None = Field(
        None,
        pattern=XML_NAME_PATTERN,
        description="The text within the last `<tag>…</tag>`; it is JSON where the fields or the schema want no text.",
        examples=["answer"],
    )


class Rule(Model):
    """A rule for what a schema cannot say. A string is short for `{rule: …}`."""

    short: ClassVar[str | None] = "rule"

    rule: str = Field(
        min_length=1,
        description="A Jinja expression that is true of a sound reply. Sees `output`, `text`, `stop_reason`, `model`, "
        "`content`, `key`, `row`, `vars`, `assets`.",
        examples=['output.score <= 1 and output.label != ""'],
    )
    message: str | None = Field(
        None, min_length=1, description="What is wrong where the rule does not hold, for people and for the model."
    )
    severity: Literal["error", "warn"] = Field(
        "error",
        description="`error` makes the reply invalid; with `warn` the row has succeeded, and the summary counts it.",
    )


class VoteSpec(Model):
    """The majority of a row's samples decides. A string is short for `{field: …}`."""

    short: ClassVar[str | None] = "field"

    field: str = Field(
        min_length=1,
        description="The field of the output that is voted on; `output` for all of it.",
        examples=["label"],
    )


class LargerLimits(Model):
    """Ask again with larger limits, one after the other, until the reply is whole."""

    max_tokens: Annotated[tuple[int, ...], OneOrMany()] = Field(
        min_length=1,
        max_length=MAX_LIMITS,
        description="The limits, each larger than the one before; the first one is larger than `params.max_tokens`.",
        examples=[[2048, 8192]],
    )


class OtherModel(Model):
    """Ask another model."""

    model: str = Field(min_length=1, description="The model's id.", examples=["claude-sonnet-5-5"])


class Output(Model):
    """What a reply must look like, and what is done about one that is no answer. A schema is asked of the model as
    native structured output, and every reply is checked again on arrival. [Outputs](output.md) has a page of its
    own."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("fields", "labels", "schema"),)
    needs_choice: ClassVar[bool] = False
    later: ClassVar[frozenset[str]] = frozenset({"samples", "tools", "include_raw"})

    fields: dict[str, Any] | None = Field(
        None,
        min_length=1,
        description="Short for a JSON Schema. Each field is `string`, `number`, `integer`, `boolean` or a form of text "
        "(`date`, `date-time`, `time`, `duration`, `email`, `uri`, `uuid`), a list of the values it may have, "
        "`[string]` or `list of string` for a list, a mapping for an object, or a JSON Schema of its own. "
        "`optional string` may be null.",
        examples=[{"label": ["positive", "negative"], "score": "number", "why": "optional string"}],
    )
    labels: tuple[str, ...] | None = Field(
        None, min_length=1, description="Short for one field, `label`, with these values.", examples=[["spam", "ham"]]
    )
    schema_: str | dict[str, Any] | None = Field(
        None, alias="schema", description="A JSON Schema: the path of a JSON or YAML file, or the schema itself."
    )
    extract: Extract | None = Field(
        None,
        description="Take the output out of the reply's text, instead of asking for structured output. What `fields`, "
        "`labels` or `schema` say is then checked here alone.",
        examples=[{"json": True}, {"xml_tag": "answer"}],
    )
    rules: Annotated[tuple[Rule, ...], OneOrMany()] = Field(
        (), description="What must be true of a reply beyond its schema.", examples=[["output.score <= 1"]]
    )
    vote: VoteSpec | None = Field(
        None,
        description="Which field the majority of `samples` decides: the record has the output of a sample that says "
        "what most say, and how the vote went.",
    )
    repair: int | None = Field(
        None,
        ge=0,
        le=MAX_REPAIRS,
        description="How often an invalid reply is asked for again, told what is wrong with it. Default: once where "
        "there is a schema.",
    )
    on_truncation: Literal["fail", "keep"] | LargerLimits = Field(
        "fail",
        description="A reply that was cut off at `max_tokens`: the row fails with its text kept (`fail`), the reply "
        "counts as it is (`keep`), or the request is sent again with a larger limit (`{max_tokens: [2048, 8192]}`).",
    )
    on_refusal: Literal["fail", "keep"] | OtherModel = Field(
        "fail",
        description="A reply that the model refused: the row fails (`fail`), the reply counts as it is (`keep`), or "
        "the request is sent to another model (`{model: claude-sonnet-5-5}`).",
    )
