"""Tables that are there already, in all four databases: what is told of them, what is kept, what is left out."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from runner.column_types import BOOLEAN, BYTES, DATE, INTEGER, JSON, LIST, NUMBER, STRING, TIME, ColumnType
from runner.connections import Connection
from runner.errors import DeliveryError, SpecError
from runner.events import Observers
from runner.execution.delivery import PartTarget, wants
from runner.execution.parts import PartDelivery
from runner.execution.versions import version_of
from runner.ledger.journal import Journal
from runner.sinks import DeliveryId, Part
from runner.sinks.sql.options import SqlOptions
from runner.testing.sinks import failed_record, sample_record
from support.tables import DATABASES, Place, deliver, place_in

ROW = {"id": STRING, "text": STRING}
COLUMNS = {"key": "key", "answer": "output"}


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place_in(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[Place]:
    with place_in("postgresql", tmp_path) as found:
        yield found


@pytest.fixture
def mariadb(tmp_path: Path) -> Iterator[Place]:
    with place_in("mariadb", tmp_path) as found:
        yield found


def quoted(place: Place, *names: str) -> str:
    return ", ".join(place.dialect.quoted(name) for name in names)


def make_table(place: Place, more: str = "") -> None:
    key = quoted(place, "key")
    place.run(f"CREATE TABLE {{}}answers ({key} VARCHAR(100) NOT NULL PRIMARY KEY, answer VARCHAR(1000){more})")


def answers(place: Place) -> list[tuple[object, ...]]:
    return place.rows(f"SELECT {quoted(place, 'key')}, answer FROM {{}}answers ORDER BY 1")


# -- types


TYPED = {
    "whole": INTEGER,
    "wide": ColumnType("integer", wide=True),
    "share": NUMBER,
    "price": ColumnType("decimal", precision=12, scale=3),
    "yes": BOOLEAN,
    "raw": BYTES,
    "day": DATE,
    "wall": ColumnType("datetime"),
    "moment": ColumnType("datetime", zone="UTC"),
    "clock": TIME,
    "tags": LIST,
    "any": JSON,
}


def test_values_come_back_as_they_were(place: Place) -> None:
    row = {
        "whole": -(2**63),
        "wide": 2**70,
        "share": 0.1,
        "price": Decimal("12345.678"),
        "yes": True,
        "raw": b"\x00\xff%",
        "day": dt.date(2026, 2, 28),
        "wall": dt.datetime(2026, 2, 28, 23, 59, 59, 123456),
        "moment": dt.datetime(2026, 2, 28, 23, 59, 59, 123456, dt.UTC),
        "clock": dt.time(23, 59, 59, 123456),
        "tags": ["a", None, {"b": 1.5}],
        "any": "text",
    }
    nulls = dict.fromkeys(TYPED)
    sink = place.sink(place.options(), row_types=TYPED)
    assert not deliver(sink, [sample_record(0, row=row), sample_record(1, row=nulls)])
    names = quoted(place, *TYPED)
    found, empty = place.rows(f"SELECT {names} FROM {{}}answers ORDER BY {quoted(place, 'key')}")
    assert empty == (None,) * len(TYPED)
    values = dict(zip(TYPED, found, strict=True))
    assert values == row | _as_stored(place.kind)


def _as_stored(kind: str) -> dict[str, object]:
    """What a database has in another form, or gives back in one."""
    wall = dt.datetime(2026, 2, 28, 23, 59, 59, 123456)
    match kind:
        case "mariadb":
            clock = dt.timedelta(hours=23, minutes=59, seconds=59, microseconds=123456)
            return {"moment": wall, "clock": clock, "tags": '["a",null,{"b":1.5}]', "any": '"text"', "yes": 1}
        case "sqlite":
            texts = {"day": "2026-02-28", "clock": "23:59:59.123456", "price": "12345.678", "wide": str(2**70)}
            return texts | {
                "wall": wall.isoformat(), "moment": wall.isoformat(), "tags": '["a",null,{"b":1.5}]', "any": '"text"',
                "yes": 1,
            }  # fmt: skip
        case "duckdb":
            return {"tags": '["a",null,{"b":1.5}]', "any": '"text"'}
    return {}


def test_types_that_only_records_can_tell_are_told_by_them(place: Place) -> None:
    columns = {"key": "key", "twice": "(row.n | int) * 2", "half": "(row.n | int) / 2", "none": "none"}
    sink = place.sink(place.options(columns=columns), row_types=ROW)
    assert not deliver(sink, [sample_record(number, row={"n": number}) for number in range(3)])
    assert place.rows("SELECT twice, half, none FROM {}answers ORDER BY 1") == [
        (0, 0, None),
        (2, 0.5, None),
        (4, 1, None),
    ]


def test_names_are_names_whatever_is_in_them(place: Place) -> None:
    names = ['say "hi"', "100%s", "a`b", "what?", "größe 日本", "select"]
    table = 'odd ""table"" %?'
    options = SqlOptions(
        url=place.url,
        table=".".join(filter(None, [place.schema, f'"{table}"'])),
        columns={"key": "key", **dict.fromkeys(names, "output")},
        write="merge",
        unique_key=["key"],
    )
    for _ in range(2):
        assert not deliver(place.sink(options), [sample_record(0)])
    shown = place.quoted('odd "table" %?')
    found = place.rows(f"SELECT {quoted(place, *names)} FROM {shown}")
    assert found == [("answer 0",) * len(names)]


def test_half_a_character_in_the_name_of_a_column_is_written_as_in_values(place: Place) -> None:
    row = {"n \ud83d": "one", "m": {"\ude00": "two"}}
    sink = place.sink(place.options(), row_types={"n \ud83d": STRING, "m": JSON})
    assert not deliver(sink, [sample_record(0, row=row)])
    names = quoted(place, "n \ufffd", "m")
    [(one, two)] = place.rows(f"SELECT {names} FROM {{}}answers")
    assert one == "one"
    assert (two if isinstance(two, dict) else json.loads(two)) == {"\ufffd": "two"}


def test_a_wide_table_is_written(place: Place) -> None:
    types = {f"column {number}": STRING for number in range(300)}
    row = {name: f"{name} é" for name in types}
    sink = place.sink(place.options(), row_types=types)
    assert not deliver(sink, [sample_record(number, row=row) for number in range(50)])
    names = quoted(place, "column 0", "column 299")
    assert place.rows(f"SELECT DISTINCT {names} FROM {{}}answers") == [("column 0 é", "column 299 é")]


# -- ways to write


def test_append_adds_the_records_of_each_run_and_of_one_run_each_once(place: Place) -> None:
    options = place.options(columns=COLUMNS)
    records = [sample_record(number) for number in range(5)]
    assert not deliver(place.sink(options), records, name="first")
    sink = place.sink(options)
    assert sink.begin(DeliveryId("first", "run", "a later process")) == 1
    sink.deliver(Part(1, "first.1", records))
    sink.finish()
    sink.close()
    assert len(answers(place)) == 5
    assert not deliver(place.sink(options), records, name="second")
    assert len(answers(place)) == 10


def test_merge_writes_over_rows_of_its_key_and_leaves_the_others(place: Place) -> None:
    make_table(place, ", note VARCHAR(10) DEFAULT 'mine'")
    key = quoted(place, "key")
    place.run(
        f"INSERT INTO {{}}answers ({key}, answer, note) VALUES ('k-1', 'old', 'theirs'), ('zz', 'kept', 'theirs')"
    )
    sink = place.sink(place.options(write="merge", unique_key="key", columns=COLUMNS))
    sink.check()
    assert not deliver(sink, [sample_record(0), sample_record(1)])
    assert place.rows(f"SELECT {key}, answer, note FROM {{}}answers ORDER BY 1") == [
        ("k-0", "answer 0", "mine"),
        ("k-1", "answer 1", "theirs"),
        ("zz", "kept", "theirs"),
    ]


def test_replace_shows_the_old_rows_until_it_ends_and_keeps_what_belongs_to_the_table(place: Place) -> None:
    make_table(place, ", note VARCHAR(10) DEFAULT 'mine'")
    place.run(
        f"INSERT INTO {{}}answers ({quoted(place, 'key')}, answer) VALUES ('old', 'old')",
        "CREATE VIEW {}seen AS SELECT answer FROM {}answers",
        "CREATE INDEX by_answer ON {}answers (answer)" if place.schema is None or place.kind == "postgresql"
        else "ALTER TABLE {}answers ADD INDEX by_answer (answer)",
    )  # fmt: skip
    options = place.options(write="replace", columns=COLUMNS, overwrite=True, batch_size=2)
    sink = place.sink(options)
    sink.begin(DeliveryId("first", "run", "owner"))
    for number in (1, 2, 3):
        sink.deliver(Part(number, "", [sample_record(2 * number), sample_record(2 * number + 1)]))
        assert answers(place) == [("old", "old")]
    sink.finish()
    sink.close()
    assert [key for key, _ in answers(place)] == [f"k-{number}" for number in range(2, 8)]
    assert len(place.rows("SELECT answer FROM {}seen")) == 6
    assert {note for (note,) in place.rows("SELECT note FROM {}answers")} == {"mine"}
    plain = place.sink(place.options(write="replace", columns=COLUMNS))
    plain.check()  # what is there is ours by now
    assert not deliver(plain, [sample_record(9)], name="second")
    assert answers(place) == [("k-9", "answer 9")]


def test_replace_leaves_rows_alone_that_it_did_not_write(place: Place) -> None:
    make_table(place)
    options = place.options(write="replace", columns=COLUMNS)
    place.sink(options).check()
    place.run(f"INSERT INTO {{}}answers ({quoted(place, 'key')}, answer) VALUES ('theirs', 'x')")
    with pytest.raises(DeliveryError, match="has rows that no `write: replace` of a job put there") as told:
        place.sink(options).check()
    assert told.value.code == "foreign-target"
    assert "overwrite: true" in str(told.value.hint)
    assert not place.has("runner_deliveries"), "a check changes nothing"


def test_a_replace_that_a_newer_one_overtook_starts_over(place: Place) -> None:
    options = place.options(write="replace", columns=COLUMNS)
    older = place.sink(options)
    older.begin(DeliveryId("older", "run", "owner"))
    older.deliver(Part(1, "", [sample_record(0)]))
    older.close()
    assert not deliver(place.sink(options), [sample_record(1)], name="newer")
    again = place.sink(options)
    assert again.begin(DeliveryId("older", "run", "another")) == 0, "what it had filled is gone"
    again.close()
    assert answers(place) == [("k-1", "answer 1")]


# -- what is told before anything is paid


def test_a_missing_column_is_told_or_added(place: Place) -> None:
    make_table(place)
    columns = {**COLUMNS, "status": "status", "cost": "cost_usd"}
    with pytest.raises(DeliveryError, match="has no columns 'status', 'cost'") as told:
        place.sink(place.options(columns=columns)).check()
    hint = str(told.value.hint)
    sink = place.sink(place.options(columns=columns, contract="evolve"))
    sink.check()
    assert not deliver(sink, [sample_record(0)])
    assert place.rows("SELECT status, cost FROM {}answers") == [("succeeded", 0.0000145)]
    place.run("DROP TABLE {}answers")
    make_table(place)
    place.run(*[line.rstrip(";") for line in hint.splitlines() if line.startswith("ALTER TABLE")])
    place.sink(place.options(columns=columns)).check()


def test_a_merge_needs_a_unique_index_and_the_told_statement_makes_it(place: Place) -> None:
    place.run(f"CREATE TABLE {{}}answers ({quoted(place, 'key')} VARCHAR(100) NOT NULL, answer VARCHAR(100))")
    options = place.options(write="merge", unique_key=["key"], columns=COLUMNS)
    with pytest.raises(DeliveryError, match="no unique index") as told:
        place.sink(options).check()
    place.run(str(told.value.hint).rstrip(";"))
    place.sink(options).check()
    assert not deliver(place.sink(options), [sample_record(0)])


def test_a_view_is_no_table(place: Place) -> None:
    make_table(place)
    place.run("CREATE VIEW {}seen AS SELECT answer FROM {}answers")
    with pytest.raises(DeliveryError, match=r"seen at .* is a view"):
        place.sink(place.options("seen")).check()


def test_a_unique_key_is_one_of_the_columns(place: Place) -> None:
    with pytest.raises(SpecError, match="the sink has no column `keys`"):
        place.sink(place.options(write="merge", unique_key=["keys"], columns=COLUMNS))


def test_a_schema_that_is_not_there_is_told(postgresql: Place) -> None:
    options = SqlOptions(url=postgresql.url, table="no_such_schema_here.answers")
    with pytest.raises(DeliveryError, match="no_such_schema_here"):
        postgresql.sink(options, row_types=ROW).check()


def test_a_right_that_is_missing_is_told_by_the_check(postgresql: Place) -> None:
    role = f"{postgresql.schema}_reader"
    postgresql.run(f"CREATE ROLE {role} LOGIN", f"GRANT USAGE ON SCHEMA {postgresql.schema} TO {role}")
    try:
        url = postgresql.url.replace("://postgres@", f"://{role}@")
        sink = postgresql.sink(postgresql.options(), row_types=ROW, connection=Connection(url))
        with pytest.raises(DeliveryError, match="permission denied for schema"):
            sink.check()
    finally:
        postgresql.run(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    url = "postgresql://someone:pa55-canary@127.0.0.1:1/db"
    place = Place("postgresql", url, None, Path())
    with pytest.raises(DeliveryError, match="cannot be reached") as told:
        place.sink(place.options(), row_types=ROW).check()
    assert "canary" not in f"{told.value} {told.value.hint} {place.options()!r}"


def test_a_file_that_is_not_there_is_not_made_by_a_check(tmp_path: Path) -> None:
    for kind in ("sqlite", "duckdb"):
        with place_in(kind, tmp_path / kind) as place:
            place.sink(place.options(), row_types=ROW).check()
            assert not (tmp_path / kind).exists()
    (tmp_path / "file").write_text("")
    with place_in("sqlite", tmp_path / "file") as place, pytest.raises(DeliveryError, match="cannot be made"):
        place.sink(place.options(), row_types=ROW).check()


# -- what is left out


def test_rows_that_a_table_refuses_are_told_and_the_others_are_there(place: Place) -> None:
    make_table(place, ", CHECK (answer <> 'answer 3')")
    place.run(f"INSERT INTO {{}}answers ({quoted(place, 'key')}, answer) VALUES ('k-7', 'theirs')")
    sink = place.sink(place.options(columns=COLUMNS))
    refused = deliver(sink, [sample_record(number) for number in range(20)])
    assert [each.key for each in refused] == ["k-3", "k-7"]
    assert len(answers(place)) == 19


PLPGSQL = "BEGIN IF NEW.answer = 'answer 3' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END"
SIGNAL = "IF NEW.answer = 'answer 3' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF;"
RAISE = "SELECT RAISE(ABORT, 'not this one') WHERE NEW.answer = 'answer 3';"
TRIGGERS = {
    "postgresql": [
        f"CREATE FUNCTION {{}}no() RETURNS trigger LANGUAGE plpgsql AS $$ {PLPGSQL} $$",
        "CREATE TRIGGER no BEFORE INSERT ON {}answers FOR EACH ROW EXECUTE FUNCTION {}no()",
    ],
    "mariadb": [f"CREATE TRIGGER {{}}no BEFORE INSERT ON {{}}answers FOR EACH ROW BEGIN {SIGNAL} END"],
    "sqlite": [f"CREATE TRIGGER no BEFORE INSERT ON answers BEGIN {RAISE} END"],
}


@pytest.mark.parametrize("kind", TRIGGERS)
def test_what_a_trigger_raises_is_told_of_its_record(kind: str, tmp_path: Path) -> None:
    with place_in(kind, tmp_path) as place:
        make_table(place)
        place.run(*TRIGGERS[kind])
        (refused,) = deliver(place.sink(place.options(columns=COLUMNS)), [sample_record(n) for n in range(9)])
        assert refused.key == "k-3"
        assert "not this one" in refused.message
        assert len(answers(place)) == 8


def test_values_that_do_not_fit_are_told_with_the_column(place: Place) -> None:
    place.run(f"CREATE TABLE {{}}answers ({quoted(place, 'key')} VARCHAR(100), n INTEGER)")
    sink = place.sink(place.options(columns={"key": "key", "n": "row.n"}))
    records = [sample_record(number, row={"n": value}) for number, value in enumerate(["1", "two", None, 4.5, "5"])]
    refused = deliver(sink, records)
    assert [(each.key, "cannot hold" in each.message) for each in refused] == [("k-1", True), ("k-3", True)]
    assert place.rows("SELECT n FROM {}answers ORDER BY 1")[-2:] in ([(1,), (5,)], [(5,), (None,)])


def test_a_column_that_cannot_be_computed_leaves_out_its_record_alone(place: Place) -> None:
    sink = place.sink(place.options(columns={"key": "key", "n": "row.n | int"}))
    refused = deliver(sink, [sample_record(0, row={"n": "1"}), sample_record(1, row={"n": "x"})])
    assert [each.key for each in refused] == ["k-1"]


def test_two_records_of_one_unique_key_are_told_apart_also_by_another_process(place: Place) -> None:
    options = place.options(write="merge", unique_key=["word"], columns={"word": "row.word", "answer": "output"})
    words = ["a", "b", "a", "c"]
    records = [sample_record(number, row={"word": word}) for number, word in enumerate(words)]
    sink = place.sink(options)
    sink.begin(DeliveryId("d", "run", "first"))
    (twice,) = sink.deliver(Part(1, "", records))
    assert twice.key == "k-2"
    assert "the record 'k-0' has the same unique key (word): 'a'" in twice.message
    sink.close()
    later = place.sink(options)
    later.begin(DeliveryId("d", "run", "second"))
    more = [sample_record(4, row={"word": "c"}), sample_record(0, row={"word": "a"}, output="again")]
    (told,) = later.deliver(Part(2, "", more))
    assert told.key == "k-4"
    later.finish()
    later.close()
    assert place.rows("SELECT word, answer FROM {}answers ORDER BY 1") == [
        ("a", "again"),
        ("b", "answer 1"),
        ("c", "answer 3"),
    ]


def test_a_unique_key_with_a_null_in_it_is_told(place: Place) -> None:
    place.run("CREATE TABLE {}answers (word VARCHAR(100) UNIQUE, answer VARCHAR(100))")
    options = place.options(write="merge", unique_key=["word"], columns={"word": "row.word", "answer": "output"})
    refused = deliver(place.sink(options), [sample_record(0, row={"word": None}), sample_record(1, row={"word": "a"})])
    assert [each.key for each in refused] == ["k-0"]
    assert place.rows("SELECT answer FROM {}answers") == [("answer 1",)]


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_collation_of_a_column_merges_no_two_records(kind: str, tmp_path: Path) -> None:
    with place_in(kind, tmp_path) as place:
        place.run("CREATE TABLE answers (key VARCHAR(9) COLLATE NOCASE PRIMARY KEY, answer VARCHAR(1000))")
        options = place.options(write="merge", unique_key=["key"], columns=COLUMNS)
        refused = deliver(place.sink(options), [sample_record(number, key=key) for number, key in enumerate("aAb")])
        assert [each.key for each in refused] == ["A"]
        assert "the collation" in refused[0].message
        assert answers(place) == [("a", "answer 0"), ("b", "answer 2")]


def test_a_key_too_long_for_its_index_leaves_out_its_record_alone(postgresql: Place) -> None:
    options = postgresql.options(write="merge", unique_key=["key"])
    long = "".join(map(str, range(3_000)))
    refused = deliver(postgresql.sink(options), [sample_record(0), sample_record(1, key=long), sample_record(2)])
    assert [each.key for each in refused] == [long]
    assert "index row" in refused[0].message
    assert len(postgresql.rows("SELECT 1 FROM {}answers")) == 2


def test_a_collation_that_folds_case_merges_no_two_records(mariadb: Place) -> None:
    make_table(mariadb)
    options = mariadb.options(write="merge", unique_key=["key"], columns=COLUMNS)
    records = [sample_record(number, key=key) for number, key in enumerate(["a", "A", "b", "b "])]
    refused = deliver(mariadb.sink(options), records)
    assert [each.key for each in refused] == ["A", "b "]
    assert "the collation" in refused[0].message
    mariadb.run("DROP TABLE {}answers")
    assert not deliver(mariadb.sink(options), records, name="anew"), "in a table made here they are four"
    assert len(answers(mariadb)) == 4


def test_a_record_left_out_by_a_part_whose_process_died_is_told_by_the_next(place: Place) -> None:
    make_table(place, ", CHECK (answer <> 'answer 1')")
    sink, definition = place.sink(place.options(columns=COLUMNS)), "d" * 64
    records = [sample_record(number) for number in range(3)]
    with Journal(place.root, 0, definition) as journal:
        name = f"run.{journal.name}"
        sink.begin(DeliveryId(name, "run", "first"))
        journal.intend([0, 1, 2], [version_of(record)[0] for record in records])
        assert [each.key for each in sink.deliver(Part(1, f"{name}.1", records))] == ["k-1"]
        sink.close()
    target = PartTarget(0, sink, wants("succeeded"), definition)
    with (
        Journal(place.root, 0, definition) as journal,
        PartDelivery(target, journal, "run", "second", Observers()) as delivery,
    ):
        delivery.begin(records.__getitem__)
        delivery.complete(lambda: records)
        ended = delivery.ended()
    assert (ended.state, ended.records) == ("failed", 2)
    assert "'k-1'" in str(ended.error)
    assert [key for key, _ in answers(place)] == ["k-0", "k-2"]


def test_a_part_of_which_the_table_refuses_most_ends_the_delivery(place: Place) -> None:
    make_table(place, ", CHECK (answer = '')")
    sink = place.sink(place.options(columns=COLUMNS))
    with pytest.raises(DeliveryError, match="refuses more than 100 records of a part"):
        deliver(sink, [sample_record(number) for number in range(200)])
    sink.close()
    assert answers(place) == []


# -- what changed meanwhile


def test_a_table_that_is_gone_has_nothing_of_a_delivery(place: Place) -> None:
    options = place.options(columns=COLUMNS)
    assert not deliver(place.sink(options), [sample_record(0)])
    place.run("DROP TABLE {}answers")
    sink = place.sink(options)
    assert sink.begin(DeliveryId("run.0.abc.1", "run", "owner")) == 0
    sink.close()


def test_a_mark_that_is_gone_stops_the_delivery(place: Place) -> None:
    sink = place.sink(place.options(columns=COLUMNS))
    sink.begin(DeliveryId("d", "run", "owner"))
    sink.deliver(Part(1, "", [sample_record(0)]))
    sink.close()
    place.run("DELETE FROM {}runner_deliveries")
    with pytest.raises(DeliveryError, match="has lost its row"):
        sink.deliver(Part(2, "", [sample_record(1)]))
    sink.close()
    assert len(answers(place)) == 1


def test_failed_rows_can_be_written_too(place: Place) -> None:
    sink = place.sink(place.options(columns={"key": "key", "status": "status", "why": "error.kind"}))
    assert not deliver(sink, [sample_record(0), failed_record(1)])
    assert place.rows("SELECT status, why FROM {}answers ORDER BY 1") == [("failed", "refusal"), ("succeeded", None)]
