"""The push to the Hub, against a server that has the endpoints it needs. The real Hub was not tried."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from pyarrow import parquet
from pydantic import ValidationError

from runner.encoding import decode
from runner.errors import DeliveryError
from runner.sinks import SinkContext
from runner.sinks.hub import HubSink
from runner.sinks.options import HubOptions
from runner.testing.sinks import sample_record
from support.hub_push_server import Hub, hub_server

TOKEN = "hf_secret_token_of_a_test"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the Hub's own storage has no server here
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served


def push(tmp_path: Path, count: int = 3, **options: Any) -> HubSink:
    sink = HubSink(HubOptions(**{"hub": "acme/labels", **options}), SinkContext(tmp_path))
    sink.check()
    sink.open(tmp_path / "staged")
    sink.write([sample_record(index) for index in range(count)])
    sealed = sink.seal()
    assert (sealed.kind, sealed.target, sealed.records, sealed.sha256) == ("hub", sink.target, count, None)
    sink.commit()
    assert not [path for path in (tmp_path / "staged").rglob("*") if path.is_file()]
    return sink


def test_records_are_pushed_as_one_file_in_one_commit(hub: Hub, tmp_path: Path) -> None:
    assert push(tmp_path).target == "acme/labels/data/train.jsonl"
    ((dataset, message, path, content),) = hub.commits
    assert (dataset, message, path) == ("acme/labels", "Write 3 records", "data/train.jsonl")
    assert [decode(line)["key"] for line in content.splitlines()] == ["k-0", "k-1", "k-2"]
    assert hub.repositories["acme/labels"]["visibility"] == "private"
    assert f"Bearer {TOKEN}" in hub.tokens


def test_a_dataset_that_is_there_gets_another_commit_and_the_same_content_none(hub: Hub, tmp_path: Path) -> None:
    for count in (2, 3, 3):
        push(tmp_path, count)
    assert [message for _, message, _, _ in hub.commits] == ["Write 2 records", "Write 3 records"]


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the library's, of its HTTP client
def test_a_large_file_goes_by_lfs(hub: Hub, tmp_path: Path) -> None:
    hub.large_from = 10
    push(tmp_path, file="data/train.csv", private=False)
    assert hub.repositories["acme/labels"]["visibility"] == "public"
    content = hub.content("acme/labels", "data/train.csv")
    assert content is not None
    assert content.splitlines()[0] == b"key,output,status,error_kind,error_message"
    assert list(hub.objects.values()) == [content]


def test_a_table_is_pushed_with_its_types(hub: Hub, tmp_path: Path) -> None:
    push(tmp_path, file="data/train.parquet", columns={"id": "key", "n": "index"})
    content = hub.content("acme/labels", "data/train.parquet")
    assert content is not None
    rows = parquet.read_table(BytesIO(content)).to_pylist()
    assert rows == [{"id": f"k-{number}", "n": number} for number in range(3)]


def test_a_record_that_the_file_cannot_hold_is_told(hub: Hub, tmp_path: Path) -> None:
    sink = HubSink(HubOptions(hub="acme/labels", file="data/train.xlsx"), SinkContext(tmp_path))
    sink.open(tmp_path / "staged")
    sink.write([sample_record(0), sample_record(1, output="x" * 40_000)])
    sealed = sink.seal()
    sink.commit()
    assert (sealed.kind, sealed.records, sealed.left_out, sealed.sha256) == ("hub", 1, 1, None)
    assert [each.key for each in sealed.refused] == ["k-1"]
    assert hub.content("acme/labels", "data/train.xlsx")


def test_columns_and_what_is_kept_of_the_row_are_the_sinks_own(hub: Hub, tmp_path: Path) -> None:
    push(tmp_path, 1, columns={"id": "key"})
    assert hub.content("acme/labels", "data/train.jsonl") == b'{"id":"k-0"}\n'


def test_a_refusal_is_told_without_the_token(hub: Hub, tmp_path: Path) -> None:
    hub.refuses_with = 401
    with pytest.raises(DeliveryError) as caught:
        push(tmp_path)
    assert "acme/labels/data/train.jsonl cannot be pushed to the Hub" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_an_aborted_push_leaves_nothing(hub: Hub, tmp_path: Path) -> None:
    sink = HubSink(HubOptions(hub="acme/labels"), SinkContext(tmp_path))
    sink.abort()
    sink.open(tmp_path / "staged")
    sink.write([sample_record()])
    sink.seal()
    sink.abort()
    sink.abort()
    assert hub.commits == []
    assert not [path for path in (tmp_path / "staged").rglob("*") if path.is_file()]


@pytest.mark.parametrize("options", [{"hub": "labels"}, {"hub": "a/b/c"}, {"file": "../x.csv"}, {"file": "/x.csv"}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HubOptions(**{"hub": "acme/labels", **options})
