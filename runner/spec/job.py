"""What a user writes, as frozen models: the job.

Owns   the shape of a job after all layers are merged, its short forms, the keys that later versions bring, and the
       descriptions that become the reference page, the JSON Schema and an editor's hover text.
Knows  nothing of files, YAML or Jinja; `spec.load` brings values here with their positions.

Where rows come from stands in `spec.dataset`, what a request says in `spec.content`, what a reply must be in
`spec.reply`, where records go in `spec.sink`, and how a model tells of its short forms in `spec.model`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from runner.spec.content import Message, Texts, TextSource
from runner.spec.dataset import CrossedDataset, Dataset
from runner.spec.model import Model, OneOrMany
from runner.spec.reply import Output
from runner.spec.sink import SinkSpec
from runner.spec.values import Dollars, Duration, PositiveDuration, Share, ShareOfRows, to_pico

MAX_TURNS = 50
"""Each turn of a run in batch mode is a wave of batches of its own; more of them is likelier a mistake than meant."""
MAX_SAMPLES = 100
"""Each multiplies the bill; a vote of more says little that these do not."""
NAME_PATTERN = r"^\w[\w.-]*$"
"""A job's name is part of file and folder names."""


class Limits(Model):
    """Where a run stops. Changing them does not change the job: an unfinished run goes on under the new ones."""

    max_cost_usd: Dollars | None = Field(
        None,
        description="A hard cap in dollars on the run with all its resumes and retries; reserved before every request.",
    )
    deadline: PositiveDuration | None = Field(
        None,
        description="When all rows must have their answer, counted from the run's start. Batches that will not make it "
        "are canceled in time; what they have answered is kept, and the rest is sent in parallel, at full price.",
        examples=["6h"],
    )
    max_concurrency: int = Field(
        200,
        ge=1,
        le=1000,
        description="How many requests are under way at once, at most, in parallel mode. A run begins with a quarter "
        "of them, and has no more than the API's limits admit.",
    )
    requests_per_minute: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="No more requests leave a minute, evenly spaced, in parallel mode. What the API's own limits admit "
        "is learned from its replies and needs no setting: this is for leaving a part of them to others.",
        examples=[4000],
    )
    input_tokens_per_minute: int | None = Field(
        None,
        ge=1,
        le=10**12,
        description="The same for input tokens, as the API counts them: what is read from the cache is free.",
        examples=[2_000_000],
    )
    output_tokens_per_minute: int | None = Field(
        None, ge=1, le=10**12, description="The same for tokens that are written.", examples=[400_000]
    )
    max_tool_rounds: int = Field(
        10,
        ge=1,
        le=100,
        description="How often a row is asked again because the model called a function, or paused in a long turn of "
        "tools that the API runs. A row that still calls for more fails. The API itself pauses after 10 rounds.",
    )
    max_failures: ShareOfRows | None = Field(
        None,
        description="Stop, resumable, when more rows than this have failed. A share counts from 100 finished rows on.",
    )
    allow_failures: ShareOfRows = Field(
        Share(rows=0), description="Up to here the exit status is still 0.", json_schema_extra={"default": 0}
    )

    @property
    def max_cost_pico(self) -> int | None:
        """The cap in pico-dollars."""
        return None if self.max_cost_usd is None else to_pico(self.max_cost_usd)


class Retry(Model):
    """How often, and how long after, a request is sent again that failed for a passing reason. Waits have full
    jitter."""

    max_attempts: int = Field(
        5,
        ge=1,
        le=100,
        description="How often a request is sent in all. Rate limits and connections that did not stand do not count.",
    )
    initial_interval: Duration = Field(0.5, description="The longest wait before the second attempt.")
    backoff_coefficient: float = Field(2.0, ge=1, le=100, description="By how much the wait grows with each attempt.")
    maximum_interval: Duration = Field(60.0, description="No wait is longer, unless the API asks for it.")


class ProviderSpec(Model):
    """Who serves the model, and what its client is told, by the SDK's own names. Credentials are none of it: they come
    from the environment, as the SDK reads it."""

    short: ClassVar[str | None] = "name"
    kind: ClassVar[str | None] = "name"

    name: str = Field(
        "anthropic",
        min_length=1,
        description="`anthropic`, `bedrock`, `vertex`, `foundry`, `aws`, `google_cloud`, or one that is installed.",
        examples=["bedrock"],
    )
    base_url: str | None = Field(None, min_length=1, description="Another address than the platform's own.")
    aws_region: str | None = Field(None, min_length=1, description="`bedrock`, `aws`: default `AWS_REGION`.")
    aws_profile: str | None = Field(None, min_length=1, description="`bedrock`, `aws`: a profile of the AWS files.")
    region: str | None = Field(None, min_length=1, description="`vertex`: default `CLOUD_ML_REGION`.")
    project_id: str | None = Field(None, min_length=1, description="`vertex`: default `ANTHROPIC_VERTEX_PROJECT_ID`.")
    resource: str | None = Field(None, min_length=1, description="`foundry`: default `ANTHROPIC_FOUNDRY_RESOURCE`.")
    workspace_id: str | None = Field(
        None,
        min_length=1,
        description="`aws`, `google_cloud`: default `ANTHROPIC_AWS_WORKSPACE_ID` or "
        "`ANTHROPIC_GOOGLE_CLOUD_WORKSPACE_ID`.",
    )
    project: str | None = Field(
        None, min_length=1, description="`google_cloud`: default `ANTHROPIC_GOOGLE_CLOUD_PROJECT`."
    )
    location: str | None = Field(
        None, min_length=1, description="`google_cloud`: default `ANTHROPIC_GOOGLE_CLOUD_LOCATION`, else `global`."
    )

    @property
    def given(self) -> dict[str, str]:
        """The options that the job gives."""
        return {name: value for name, value in self.model_dump(exclude={"name"}).items() if value is not None}


class Job(Model):
    """A job: what is asked of the model, for each row of a dataset, and where the answers go."""

    later: ClassVar[frozenset[str]] = frozenset({"rules"})

    name: str = Field(
        pattern=NAME_PATTERN, max_length=100, description="The job's name. Default: the file's name without its ending."
    )
    description: str | None = Field(None, description="What the job is for. Changing it changes nothing else.")
    model: str = Field(min_length=1, description="The model's id.", examples=["claude-haiku-5-5"])
    provider: ProviderSpec = Field(
        ProviderSpec(),
        description="Who serves the model: Anthropic's own API, or a platform. Credentials come from the environment.",
        examples=["bedrock", {"name": "vertex", "region": "global"}],
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="Parameters of the Messages API by their own names.",
        examples=[{"max_tokens": 1024}],
    )
    system: Texts = Field(
        (), description="What every row shares: a text, a block, or a list of them. Sees `vars`, `assets`, `job`."
    )
    vars: dict[str, Any] = Field(
        default_factory=dict,
        description="Values that templates see as `vars.…`. Null means that it must be given: "
        "`--var since=2026-01-01`.",
    )
    assets: dict[str, str] = Field(
        default_factory=dict,
        description="Small files, loaded once, that templates see as `assets.…`: csv, tsv and jsonl as a list of rows, "
        "json and yaml as what they hold, any other as text.",
    )
    messages: tuple[Message, ...] = Field(description="The conversation, instead of `prompt`.", min_length=1)
    turns: Annotated[tuple[TextSource, ...], OneOrMany()] = Field(
        (),
        max_length=MAX_TURNS,
        description="Further messages of the user, each sent with all that was said before, once there is a reply. "
        "They see `row`, `vars`, `assets`, `job`, and `replies`: the texts of the replies so far. `output` is what the "
        "last reply must look like.",
        examples=[["Why?", "followup.md.j2"]],
    )
    dataset: Dataset = Field(description="Where the rows come from.")
    samples: int = Field(
        1,
        ge=1,
        le=MAX_SAMPLES,
        description="How often each row is asked, each time anew. With `output.vote` the majority decides.",
        examples=[5],
    )
    tools: Annotated[tuple[str | dict[str, Any], ...], OneOrMany()] = Field(
        (),
        description="What the model may call while it answers: tools that the API runs, by their type, and functions "
        "of the project, which this process runs ([tools](tools.md)).",
        examples=[[{"type": "web_search_20250305", "max_uses": 3}, {"python": "lookups:find_customer"}]],
    )
    output: Output | None = Field(None, description="What a reply must look like. Default: any text.")
    mode: Literal["auto", "batch", "parallel"] = Field(
        "auto",
        description="`batch` hands requests to the Message Batches API: half the price, answers within a day, mostly "
        "within an hour. `parallel` sends them one by one and has each answer at once. `auto` takes batches from 1,000 "
        "requests on (setting `batch_min_rows`), unless it is a trial or the deadline is in less than two hours.",
    )
    limits: Limits = Field(Limits(), description="Where a run stops.")
    retry: Retry = Field(Retry(), description="How failed requests are sent again.")
    sinks: Annotated[tuple[SinkSpec, ...], OneOrMany()] = Field(
        min_length=1, description="Where the records go. Default: `out/<name>.jsonl`."
    )
    reuse: bool = Field(True, description="Take replies that an earlier run has paid for.")

    @property
    def calls_functions(self) -> bool:
        """Whether a tool of it is a function, which only a run in parallel mode can call."""
        return any(isinstance(tool, str) or "type" not in tool for tool in self.tools)


class JobFile(Job):
    """A job as a file may hold it: with `extends` and `prompt`, and without what has a default."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("prompt", "messages"),)

    extends: str | None = Field(
        None,
        min_length=1,
        description="A job file beside this one whose keys are taken where this one has none.",
        examples=["_base.yaml"],
    )
    name: str = Field("", pattern=NAME_PATTERN, max_length=100, description=Job.model_fields["name"].description)
    prompt: Texts = Field((), description="Short for one user message: a text, a block, or a list of them.")
    messages: tuple[Message, ...] = Field((), description=Job.model_fields["messages"].description)
    cross: dict[str, CrossedDataset] = Field(
        default_factory=dict,
        description="Short for `cross` under `dataset`.",
        examples=[{"question": "data/questions.csv"}],
    )
    sinks: Annotated[tuple[SinkSpec, ...], OneOrMany()] = Field((), description=Job.model_fields["sinks"].description)
