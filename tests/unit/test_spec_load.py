from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from runner.errors import Problem, SpecError
from runner.spec.content import Block
from runner.spec.load import LoadedJob, duplicate_names, load
from support.projects import JOB, make_project


def loaded(root: Path, job: str = JOB, *, files: dict[str, str] | None = None, **options: object) -> LoadedJob:
    options.setdefault("environ", {})
    return load(make_project(root, job=job, files=files), **options)  # type: ignore[arg-type]


def problems(root: Path, job: str = JOB, *, files: dict[str, str] | None = None, **options: object) -> list[Problem]:
    with pytest.raises(SpecError) as raised:
        loaded(root, job, files=files, **options)
    return list(raised.value.problems)


def test_a_plain_job_loads_with_its_defaults(tmp_path: Path) -> None:
    job = loaded(tmp_path).job
    assert job.name == "sentiment"
    assert job.messages[0].role == "user"
    assert job.messages[0].content == (Block(template="review.md.j2", name="review.md.j2"),)
    assert job.sinks[0].path == "out/sentiment.jsonl"
    assert job.limits.max_concurrency == 200
    assert job.mode == "auto"


def test_short_and_long_forms_resolve_to_the_same_job(tmp_path: Path) -> None:
    long = """\
name: sentiment
model: claude-haiku-5-5
params: {max_tokens: 100}
messages:
  - content: [{template: review.md.j2}]
dataset: {path: data/reviews.csv}
sinks: [{path: out/sentiment.jsonl}]
"""
    assert loaded(tmp_path / "a").resolved == loaded(tmp_path / "b", long).resolved


def test_a_file_that_begins_with_an_underscore_is_a_base_and_no_job(tmp_path: Path) -> None:
    (tmp_path / "_base.yaml").write_text(JOB)
    with pytest.raises(SpecError) as raised:
        load(tmp_path / "_base.yaml")
    (problem,) = raised.value.problems
    assert (problem.code, problem.message) == ("not-a-job", "files whose names begin with `_` are bases, not jobs")
    assert problem.hint is not None


@pytest.mark.parametrize(
    ("written", "kind"),
    [("a.md.j2", "template"), ("Read a.md.j2", "text"), ("a.md.j2 ", "text"), ("hello", "text"), ("a.md", "text")],
)
def test_a_string_names_a_template_only_without_spaces_and_with_its_ending(
    tmp_path: Path, written: str, kind: str
) -> None:
    job = loaded(tmp_path, JOB + f'system: "{written}"\n', files={"templates/a.md.j2": "x"}).job
    assert getattr(job.system[0], kind) == written


def test_keys_for_notes_are_ignored(tmp_path: Path) -> None:
    assert "x-note" not in loaded(tmp_path, JOB + "x-note: &n {a: [1]}\n").resolved


def test_inline_texts_are_templates_under_names_of_their_place(tmp_path: Path) -> None:
    job = loaded(tmp_path, JOB.replace("review.md.j2", "Say {{ row.text }}"))
    name = job.job.messages[0].content[0].name
    assert name == "jobs/sentiment.yaml#messages.0.content.0"
    assert job.templates.template(name).render({"row": {"text": "hi"}}) == "Say hi"


def test_a_raw_file_is_read_and_never_rendered(tmp_path: Path) -> None:
    job = loaded(tmp_path, JOB + "system: {file: data/rules.md}\n", files={"data/rules.md": "{{ raw }}\n"})
    assert job.files == {"data/rules.md": "{{ raw }}\n"}
    assert "data/rules.md" not in job.templates.sources


def test_assets_are_read_by_their_endings(tmp_path: Path) -> None:
    files = {
        "data/a.jsonl": '{"x": 1}\n\n{"x": 2}\n',
        "data/b.csv": 'x,y\n1,"2\n3"\n',
        "data/c.tsv": "x\ty\n1\t2\n",
        "data/d.json": '{"k": [1, 2]}',
        "data/e.yaml": "k: no\n",
        "data/f.md": "# text\n",
    }
    assets = "assets: {" + ", ".join(f"{path[5]}: {path}" for path in files) + "}\n"
    assert loaded(tmp_path, JOB + assets, files=files).assets == {
        "a": [{"x": 1}, {"x": 2}],
        "b": [{"x": "1", "y": "2\n3"}],
        "c": [{"x": "1", "y": "2"}],
        "d": {"k": [1, 2]},
        "e": {"k": "no"},
        "f": "# text\n",
    }


def test_a_schema_may_be_json_with_tabs_and_escaped_pairs(tmp_path: Path) -> None:
    schema = '{\n\t"type": "object",\n\t"properties": {"a": {"const": "\\ud83d\\ude00"}}\n}'
    job = loaded(tmp_path, JOB + "output: {schema: s.json}\n", files={"s.json": schema})
    assert job.schema == {"type": "object", "properties": {"a": {"const": "😀"}}}


def test_a_missing_job_and_a_folder_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SpecError) as raised:
            load(path)
        assert raised.value.code == "file-not-found"


def test_a_job_that_is_named_without_its_path_is_told_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    for name in ("sentiment.yaml", "tickets.yaml", "_base.yaml"):
        (tmp_path / "jobs" / name).touch()
    for mistyped in ("sentiment", "sentiment.yaml", "jobs/sentimnt.yaml"):
        with pytest.raises(SpecError) as raised:
            load(tmp_path / mistyped)
        (problem,) = raised.value.problems
        assert problem.hint is not None
        meant, _, listed = problem.hint.partition("?")
        assert meant.startswith("did you mean `")
        assert "jobs/sentiment.yaml`" in meant
        assert "tickets.yaml" in listed
        assert "_base" not in listed


# -- the command line's layers -----------------------------------------------------------------------------------------


def test_set_reaches_into_short_forms_and_makes_what_is_not_there(tmp_path: Path) -> None:
    job = loaded(tmp_path, sets=["dataset.limit=2", "limits.max_cost_usd=1.50", "params.output_config.effort=low"]).job
    assert (job.dataset.path, job.dataset.limit) == ("data/reviews.csv", 2)
    assert job.limits.max_cost_usd == Decimal("1.5")
    assert job.params == {"max_tokens": 100, "output_config": {"effort": "low"}}


def test_set_replaces_what_a_key_excludes(tmp_path: Path) -> None:
    job = loaded(
        tmp_path, JOB.replace("prompt: review.md.j2", "messages: [{content: a}]"), sets=["prompt=Hello: you # x"]
    )
    assert job.job.messages[0].content[0].text == "Hello: you # x"


def test_set_takes_yaml_lists_null_and_positions_in_lists(tmp_path: Path) -> None:
    job = JOB + "description: x\nsystem: [one, two]\n"
    result = loaded(tmp_path, job, sets=["description=null", "sinks=[a.csv, b.jsonl]", "system.1=three"]).job
    assert result.description is None
    assert [sink.path for sink in result.sinks] == ["a.csv", "b.jsonl"]
    assert [block.text for block in result.system] == ["one", "three"]


@pytest.mark.parametrize(
    ("argument", "place", "code"),
    [
        ("limits.max_cost_usd=-1", "<--set>:1:21", "wrong-value"),
        ("limit.max=1", "<--set>:1:1", "unknown-key"),
        ("dataset.limit=012", "<--set>:1:15", "doubtful-number"),
        ("dataset", "<--set>:1:1", "bad-assignment"),
        ("system.5=x", "<--set>:1:1", "bad-set"),
        ("sinks=[a.csv", "<--set>:1:7", "yaml-syntax"),
        ("mode=batches", "<--set>:1:6", "wrong-value"),
    ],
)
def test_what_is_wrong_with_set_is_told_in_the_argument(tmp_path: Path, argument: str, place: str, code: str) -> None:
    found = problems(tmp_path, JOB + "system: [one]\n", sets=[argument])
    assert [(str(problem.where), problem.code) for problem in found] == [(place, code)]


def test_a_null_variable_must_be_given(tmp_path: Path) -> None:
    job = JOB + "vars: {since: null, tone: strict}\n"
    assert [problem.code for problem in problems(tmp_path, job)] == ["missing-variable"]
    assert loaded(tmp_path, job, variables=["since=2026-01-01"]).job.vars == {"since": "2026-01-01", "tone": "strict"}


def test_checking_needs_no_variables(tmp_path: Path) -> None:
    warnings = loaded(tmp_path, JOB + "vars: {since: null}\n", lenient=True).warnings
    assert [(warning.code, warning.severity) for warning in warnings] == [("missing-variable", "warning")]


def test_a_variable_that_the_job_does_not_have_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, JOB + "vars: {tone: strict}\n", variables=["tnoe=mild"])
    assert [(str(problem.where), problem.code) for problem in found] == [("<--var>:1:1", "unknown-variable")]


# -- defaults, profiles, extends ---------------------------------------------------------------------------------------

TOML = """\
[defaults]
model = "claude-sonnet-5-5"
name = "not-inherited"
limits.max_cost_usd = 1
[profiles.dev.defaults]
reuse = false
limits.max_cost_usd = 2
[profiles.dev.set]
"dataset.limit" = 1
limits.max_concurrency = 3
"""


def test_layers_have_their_order(tmp_path: Path) -> None:
    base = "description: base\nparams: {max_tokens: 5, output_config: {effort: low}}\nlimits: {max_failures: 1}\n"
    job = "extends: _base.yaml\nparams: {max_tokens: 7}\nprompt: review.md.j2\n"
    job += "dataset: {path: data/reviews.csv, limit: 9}\n"
    files = {"runner.toml": TOML, "jobs/_base.yaml": base}
    plain = loaded(tmp_path, job, files=files).job
    assert (plain.name, plain.description, plain.model) == ("sentiment", None, "claude-sonnet-5-5")
    assert plain.params == {"max_tokens": 7, "output_config": {"effort": "low"}}
    assert (str(plain.limits.max_cost_usd), plain.dataset.limit, plain.reuse) == ("1", 9, True)
    dev = loaded(tmp_path, job, files=files, profile="dev", sets=["limits.max_concurrency=4"]).job
    assert (str(dev.limits.max_cost_usd), dev.dataset.limit, dev.reuse) == ("2", 1, False)
    assert dev.limits.max_concurrency == 4


def test_null_removes_what_a_weaker_layer_gives(tmp_path: Path) -> None:
    job = JOB + "limits: {max_cost_usd: null}\n"
    assert loaded(tmp_path, job, files={"runner.toml": TOML}).job.limits.max_cost_usd is None


def test_keys_that_exclude_one_another_replace_each_other_across_layers(tmp_path: Path) -> None:
    files = {"jobs/_base.yaml": "messages: [{content: base}]\noutput: {labels: [a, b]}\n"}
    job = loaded(tmp_path, "extends: _base.yaml\n" + JOB + "output: {fields: {x: string}}\n", files=files)
    assert job.job.messages[0].content[0].template == "review.md.j2"
    assert job.schema is not None
    assert list(job.schema["properties"]) == ["x"]


def test_another_provider_replaces_the_options_of_a_weaker_layer_and_the_same_adds_to_them(tmp_path: Path) -> None:
    files = {"runner.toml": '[defaults.provider]\nname = "bedrock"\naws_region = "eu-west-1"\n'}
    vertex = loaded(tmp_path, JOB + "provider: vertex\n", files=files).job.provider
    assert (vertex.name, vertex.given) == ("vertex", {})
    profile = loaded(tmp_path, JOB + "provider: {aws_profile: p}\n", files=files).job.provider
    assert (profile.name, profile.given) == ("bedrock", {"aws_region": "eu-west-1", "aws_profile": "p"})


def test_lists_replace(tmp_path: Path) -> None:
    files = {"jobs/_base.yaml": "system: [one, two]\n"}
    job = loaded(tmp_path, "extends: _base.yaml\nsystem: three\n" + JOB, files=files).job
    assert [block.text for block in job.system] == ["three"]


def test_bases_of_bases_are_followed_beside_each_file(tmp_path: Path) -> None:
    files = {"jobs/shared/_a.yaml": "extends: _b.yaml\n", "jobs/shared/_b.yaml": "reuse: false\n"}
    assert loaded(tmp_path, "extends: shared/_a.yaml\n" + JOB, files=files).job.reuse is False


def test_what_is_wrong_in_a_layer_is_told_in_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toml = "[defaults]\nmodle = 'x'\n[defaults.limits]\nmax_concurrency = 'many'\n"
    found = problems(tmp_path, files={"runner.toml": toml})
    assert [str(problem.where) for problem in found] == ["runner.toml:2:1", "runner.toml:4:1"]


def test_an_unknown_profile_is_told_with_those_there_are(tmp_path: Path) -> None:
    found = problems(tmp_path, files={"runner.toml": TOML}, profile="dve")
    assert found[0].code == "unknown-profile"
    assert found[0].hint == "did you mean `dev`? Profiles: dev"


def test_a_profile_may_be_a_setting(tmp_path: Path) -> None:
    job = loaded(tmp_path, files={"runner.toml": TOML}, environ={"RUNNER_PROFILE": "dev"})
    assert (job.profile, job.job.dataset.limit) == ("dev", 1)


# -- ${NAME} -----------------------------------------------------------------------------------------------------------


def test_variables_of_the_environment_are_typed_and_never_stored(tmp_path: Path) -> None:
    job = loaded(
        tmp_path, JOB + "limits: {max_cost_usd: '${CAP}', max_concurrency: '${N:-7}'}\n", environ={"CAP": "2.5"}
    )
    assert job.job.limits.max_cost_usd == Decimal("2.5")
    assert job.job.limits.max_concurrency == 7
    assert job.resolved["limits"] == {"max_cost_usd": "${CAP}", "max_concurrency": "${N:-7}"}


def test_a_wrong_value_from_the_environment_is_not_shown(tmp_path: Path) -> None:
    for value in ("hunter2", "012"):
        found = problems(tmp_path, JOB + "limits: {max_cost_usd: '${CAP}'}\n", environ={"CAP": value})
        assert len(found) == 1
        assert value not in str(found[0].to_dict())


def test_a_name_that_is_not_set_stops_a_run_and_not_a_check(tmp_path: Path) -> None:
    job = JOB + "limits: {max_cost_usd: '${CAP}'}\n"
    assert [problem.code for problem in problems(tmp_path, job)] == ["unset-variable"]
    checked = loaded(tmp_path, job, lenient=True)
    assert checked.job.limits.max_cost_usd is None
    assert [warning.code for warning in checked.warnings] == ["unset-variable"]


def test_descriptions_may_name_variables(tmp_path: Path) -> None:
    assert loaded(tmp_path, JOB + "description: costs $5 or ${CAP}\n").job.description == "costs $5 or ${CAP}"


# -- several jobs ------------------------------------------------------------------------------------------------------


def test_two_jobs_of_one_name_are_an_error_of_the_second(tmp_path: Path) -> None:
    first = load(make_project(tmp_path, job="name: same\n" + JOB, name="a"), environ={})
    second = load(make_project(tmp_path, job="name: same\n" + JOB, name="b"), environ={})
    found = duplicate_names([first, second, first])
    assert [problem.code for problem in found] == ["duplicate-name"]
    assert str(found[0].where).endswith("b.yaml:1:7")


def test_loading_imports_nothing_heavy() -> None:
    heavy = ("anthropic", "aiohttp", "genai_prices", "jsonschema", "apsw", "rich", "typer")
    code = f"import sys, runner.spec.load; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_deadline_in_parallel_mode_is_told_to_change_nothing(tmp_path: Path) -> None:
    job = JOB + "limits: {deadline: 6h}\n"
    assert loaded(tmp_path, job).warnings == ()
    assert loaded(tmp_path, job).job.limits.deadline == 6 * 3600
    (warning,) = loaded(tmp_path, job + "mode: parallel\n").warnings
    assert (warning.code, warning.severity) == ("no-effect", "warning")


def test_a_deadline_beside_a_ceiling_of_tokens_is_told_to_be_reckoned_without_it(tmp_path: Path) -> None:
    job = JOB + "limits: {deadline: 6h, input_tokens_per_minute: 100000, requests_per_minute: 50}\n"
    (warning,) = loaded(tmp_path, job).warnings
    assert (warning.code, warning.severity) == ("slower-than-assumed", "warning")
    assert "input_tokens_per_minute" in warning.message
    assert loaded(tmp_path, job.replace("100000", "null")).warnings == ()


@pytest.mark.parametrize(
    ("mode", "marks", "told"),
    [
        ("auto", "true 1h", "in parallel mode"),
        ("auto", "5m true", "in batch mode"),
        ("parallel", "5m true", None),
        ("parallel", "true 1h", "in parallel mode"),
        ("batch", "5m true", "in batch mode"),
        ("batch", "true 1h", "in parallel mode"),
        ("auto", "true true 5m", None),
        ("auto", "1h true 5m", None),
    ],
)
def test_breakpoints_stand_in_order_in_every_mode_there_may_be(
    tmp_path: Path, mode: str, marks: str, told: str | None
) -> None:
    system = ", ".join(f"{{text: one, cache: {mark}}}" for mark in marks.split())
    job = f"{JOB}mode: {mode}\nsystem: [{system}]\n"
    if told is None:
        loaded(tmp_path, job)
    else:
        (problem,) = problems(tmp_path, job)
        assert problem.code == "breakpoint-order"
        assert told in problem.message


def test_breakpoints_of_a_job_for_batches_alone_need_no_order_in_parallel(tmp_path: Path) -> None:
    lines = [line for line in JOB.splitlines() if not line.startswith("params")]
    params = "params: {max_tokens: 1024, betas: [output-300k-2026-03-24]}"
    system = "system: [{text: one, cache: true}, {text: two, cache: 1h}]"
    assert loaded(tmp_path, "\n".join([*lines, params, system, "mode: batch\n"])).job.mode == "batch"


@pytest.mark.parametrize(
    ("sets", "variables", "place"),
    [
        ((), ["tone=mi\udcffld"], "<--var>:1:8"),
        (["params.stop_sequences=[a, b\udcff]"], (), "<--set>:1:28"),
        (["description=\udcff"], (), "<--set>:1:13"),
        (["x-\udcff=1"], (), "<--set>:1:3"),
    ],
)
def test_bytes_of_an_argument_that_are_no_utf_8_are_told_at_their_place(
    tmp_path: Path, sets: Sequence[str], variables: Sequence[str], place: str
) -> None:
    (problem,) = problems(tmp_path, JOB + "vars: {tone: strict}\n", sets=sets, variables=variables)
    assert (problem.code, str(problem.where)) == ("not-utf8", place)
