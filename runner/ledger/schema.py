"""The ledger's tables, and the whole numbers that stand for states in them.

Owns   the SQL that makes the tables, version by version, and the codes.
Knows  the words of the contract. Runs nothing.

Versions only grow: `MIGRATIONS[n]` takes a database from version n to n + 1, and a released entry is never edited. A
new ledger is made by running all of them. Codes are written into databases: they may be added to, never renumbered.

Sizes, because a run may have 10 million rows: a row costs about 60 bytes here, an attempt about 150. What is in the
spool or in `rows/` is not repeated, except what sums, answers and the reply index are made of.
"""

from __future__ import annotations

from typing import Final, TypeVar, get_args

from runner.ledger import StepState
from runner.types import AttemptEnd, Mode, RowStatus

Word = TypeVar("Word", bound=str)

APPLICATION_ID: Final = 0x52554E52
"""`RUNR`: says whose file this is (sqlite.org/pragma.html#pragma_application_id)."""

STEP_STATES: Final[tuple[StepState, ...]] = get_args(StepState)
ROW_STATUSES: Final[tuple[RowStatus, ...]] = get_args(RowStatus)
ATTEMPT_ENDS: Final[tuple[AttemptEnd, ...]] = get_args(AttemptEnd)
MODES: Final[tuple[Mode, ...]] = get_args(Mode)


def codes_of(words: tuple[Word, ...]) -> dict[Word, int]:
    """The code of each word is its place in the contract's Literal, so new words go to its end."""
    return {word: code for code, word in enumerate(words)}


STEP_CODE: Final = codes_of(STEP_STATES)
ROW_CODE: Final = codes_of(ROW_STATUSES)
END_CODE: Final = codes_of(ATTEMPT_ENDS)
MODE_CODE: Final = codes_of(MODES)

OPEN: Final = STEP_CODE["open"]
LEASED: Final = STEP_CODE["leased"]
ANSWERED: Final = STEP_CODE["answered"]
TWIN: Final = -1
"""Stands for the status of a row that has none of its own: it ends as another row does (`twins`)."""

_VERSION_1 = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL  -- JSON
) STRICT, WITHOUT ROWID;

-- How many transactions were committed with FULL durability; a copy beside the database tells when some were lost.
CREATE TABLE durable_commits (number INTEGER NOT NULL) STRICT;
INSERT INTO durable_commits VALUES (0);

CREATE TABLE sources (id INTEGER PRIMARY KEY, file TEXT NOT NULL) STRICT;

CREATE TABLE blocks (  -- of rows/: the rows from first_row up to the next block's
    first_row INTEGER PRIMARY KEY,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL
) STRICT;

CREATE TABLE rows (  -- rows_by_key, unique over key_hash, is made once they are loaded
    idx INTEGER PRIMARY KEY,
    key_hash BLOB NOT NULL,
    source INTEGER NOT NULL,
    line INTEGER,
    status INTEGER NOT NULL,
    kind TEXT,  -- the failure's
    reused INTEGER NOT NULL
) STRICT;

CREATE TABLE steps (
    row INTEGER NOT NULL, turn INTEGER NOT NULL, sample INTEGER NOT NULL, round INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,  -- made or leased
    tries INTEGER NOT NULL,  -- that count towards max_attempts
    sent INTEGER NOT NULL,  -- 1 once an attempt may have reached the API
    PRIMARY KEY (row, turn, sample, round)
) STRICT, WITHOUT ROWID;
CREATE INDEX steps_open ON steps (row, turn, sample, round) WHERE state = 0;
CREATE INDEX steps_answered ON steps (row, turn, sample, round) WHERE state = 2;

CREATE TABLE leases (
    row INTEGER NOT NULL, turn INTEGER NOT NULL, sample INTEGER NOT NULL, round INTEGER NOT NULL,
    number INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    request_hash BLOB NOT NULL,
    batch INTEGER,
    started_at INTEGER NOT NULL,  -- times are UTC, milliseconds since 1970
    PRIMARY KEY (row, turn, sample, round)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_by_batch ON leases (batch) WHERE batch IS NOT NULL;

CREATE TABLE attempts (
    row INTEGER NOT NULL, turn INTEGER NOT NULL, sample INTEGER NOT NULL, round INTEGER NOT NULL,
    number INTEGER NOT NULL,
    end INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    cost INTEGER,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cache_read INTEGER NOT NULL,
    cache_5m INTEGER NOT NULL, cache_1h INTEGER NOT NULL,
    reused INTEGER NOT NULL,
    request_hash BLOB NOT NULL,
    request_id TEXT,
    batch_id TEXT,
    failure TEXT,  -- JSON; of the ruling, where there is one
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    segment INTEGER, offset INTEGER, length INTEGER,  -- of its frame; none for a lost attempt
    PRIMARY KEY (row, turn, sample, round, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE failure_kinds (kind TEXT PRIMARY KEY, rows INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE totals (  -- one row; counting 10 million rows takes seconds
    rows_open INTEGER NOT NULL DEFAULT 0, rows_succeeded INTEGER NOT NULL DEFAULT 0,
    rows_failed INTEGER NOT NULL DEFAULT 0, rows_expired INTEGER NOT NULL DEFAULT 0,
    rows_canceled INTEGER NOT NULL DEFAULT 0, rows_reused INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, requests INTEGER NOT NULL DEFAULT 0,
    spent INTEGER NOT NULL DEFAULT 0, reserved INTEGER NOT NULL DEFAULT 0, doubtful INTEGER NOT NULL DEFAULT 0,
    overhead INTEGER NOT NULL DEFAULT 0, unpriced INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read INTEGER NOT NULL DEFAULT 0, cache_5m INTEGER NOT NULL DEFAULT 0, cache_1h INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO totals DEFAULT VALUES;

CREATE TABLE spool_mark (segment INTEGER NOT NULL, offset INTEGER NOT NULL) STRICT;  -- frames before it are in attempts
INSERT INTO spool_mark VALUES (1, 0);

CREATE TABLE batches (
    number INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    batch_id TEXT,
    steps INTEGER NOT NULL,
    body_sha256 BLOB NOT NULL,
    watermark TEXT,
    reserved INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;

CREATE TABLE deliveries (
    sink INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    state TEXT NOT NULL,
    records INTEGER NOT NULL,
    sha256 TEXT,
    error TEXT
) STRICT;
"""

_VERSION_2 = """
ALTER TABLE batches ADD COLUMN priming INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batches ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;  -- steps of it that have their outcome
ALTER TABLE batches ADD COLUMN began_at INTEGER;
ALTER TABLE batches ADD COLUMN ended_at INTEGER;
ALTER TABLE batches ADD COLUMN tallies TEXT;  -- JSON
ALTER TABLE batches ADD COLUMN cause TEXT;
ALTER TABLE batches ADD COLUMN note TEXT;
ALTER TABLE batches ADD COLUMN first_row INTEGER NOT NULL DEFAULT 0;  -- its leases are of rows between these two
ALTER TABLE batches ADD COLUMN last_row INTEGER NOT NULL DEFAULT 0;
UPDATE batches SET
    settled = iif(state IN ('rejected', 'not_sent'), 0,
        steps - (SELECT count(*) FROM leases WHERE leases.batch = batches.number)),
    first_row = coalesce((SELECT min(row) FROM leases WHERE leases.batch = batches.number), 0),
    last_row = coalesce((SELECT max(row) FROM leases WHERE leases.batch = batches.number), 0);
-- Leases end one by one and all over a batch: keeping this up to date cost more than it saved.
DROP INDEX leases_by_batch;

CREATE TABLE landings (  -- result files in spool/; an attempt of line n of file i has segment -i
    id INTEGER PRIMARY KEY,
    batch INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
"""

_READ_1_AS_2 = """
CREATE TEMP VIEW batches AS
SELECT number, state, batch_id, steps, body_sha256, watermark, reserved, created_at, expires_at, 0 AS priming,
    iif(state IN ('rejected', 'not_sent'), 0,
        steps - (SELECT count(*) FROM leases WHERE leases.batch = b.number)) AS settled,
    NULL AS began_at, NULL AS ended_at, NULL AS tallies, NULL AS cause, NULL AS note,
    -9223372036854775808 AS first_row, 9223372036854775807 AS last_row
FROM main.batches AS b;
CREATE TEMP TABLE landings (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
"""

_TOOL_RESULTS = """ (  -- of calls that the reply to a step made; `packed`: with zstd
    row INTEGER NOT NULL, turn INTEGER NOT NULL, sample INTEGER NOT NULL, round INTEGER NOT NULL,
    id TEXT NOT NULL,
    is_error INTEGER NOT NULL,
    packed INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (row, turn, sample, round, id)
) STRICT;
"""

_VERSION_3 = f"CREATE TABLE tool_results{_TOOL_RESULTS}"
_READ_2_AS_3 = f"CREATE TEMP TABLE tool_results{_TOOL_RESULTS}"

_TWINS = """ (  -- rows of the same request as an earlier one, which alone has steps; `twins_by_first` is made with them
    row INTEGER PRIMARY KEY,
    first INTEGER NOT NULL
) STRICT;
"""

_VERSION_4 = f"""
CREATE TABLE twins{_TWINS}
ALTER TABLE totals ADD COLUMN twins INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN twins_open INTEGER NOT NULL DEFAULT 0;
"""
_READ_3_AS_4 = f"""
CREATE TEMP TABLE twins{_TWINS}
CREATE TEMP VIEW totals AS SELECT *, 0 AS twins, 0 AS twins_open FROM main.totals;
"""  # noqa: S608 - our own names

MIGRATIONS: Final[tuple[str, ...]] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4)

READ_OLDER: Final[dict[int, str]] = {
    1: _READ_1_AS_2 + _READ_2_AS_3 + _READ_3_AS_4,
    2: _READ_2_AS_3 + _READ_3_AS_4,
    3: _READ_3_AS_4,
}
"""What makes a database of an older version look like the newest to a connection that only reads: temporary views,
which SQLite finds before the tables of the same name. Nothing is written to the file."""
