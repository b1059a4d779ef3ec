"""Packing and staging: what is counted is what is sent, no batch is too large, and every step is in it once."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.encoding import decode, encode
from runner.engines import Prepared
from runner.engines import staging as staging_module
from runner.engines.custom_ids import custom_id
from runner.engines.packing import BatchSizes, Leases, Pack
from runner.engines.staging import Staged, Stager, empty
from runner.errors import LedgerError
from runner.ledger import Lease
from runner.types import Request, Step

MARK = "m4rk"
HEAD = b'{"model":"m","system":"shared","messages":'

texts = st.text(max_size=40)
steps = st.lists(
    st.builds(Step, st.integers(0, 10**6), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    unique=True,
    max_size=30,
)


def prepared(
    step: Step, text: str = "x", *, head: bytes = HEAD, shared: int | None = None, **fields: object
) -> Prepared:
    body = head + encode(text) + b"}"
    request = Request(
        hash=step.row.to_bytes(32), prefix=b"", body=body, model="m", max_tokens=1, input_bound=1,
        shared_bytes=len(head) if shared is None else shared, betas=fields.pop("betas", ()),  # type: ignore[arg-type]  # of a test's own making
    )  # fmt: skip
    return Prepared(step, request, **{"attempts": 0, "bound_pico": 7, **fields})  # type: ignore[arg-type]


async def staged_from(folder: Path, items: list[Prepared], sizes: BatchSizes, left: int | None = None) -> list[Staged]:
    """All of them, in as many batches as it takes; what is too large is left out."""
    waiting, made = deque(items), list[Staged]()
    while waiting:
        stager = await Stager.begin(folder / f"{len(made)}", MARK, sizes, left)
        while (verdict := stager.offer_all(waiting)) == "too_large":
            waiting.popleft()
        await stager.flush()
        if not stager.pack.requests:
            await stager.abandon()
            break
        try:
            made.append(await stager.seal())
        finally:
            stager.close()
        if verdict == "unaffordable":
            break
    return made


async def body_of(staged: Staged, number: int) -> bytes:
    return b"".join([chunk async for chunk in staged.chunks(number)])


@settings(max_examples=60, deadline=None)
@given(steps, texts, st.integers(1, 8), st.integers(150, 3_000), st.integers(1, 36**4), st.integers(1, 60))
def test_bodies_decode_to_exactly_the_steps_leased_within_both_bounds(
    found: list[Step], text: str, most: int, max_bytes: int, number: int, piece_bytes: int
) -> None:
    items = [
        prepared(step, text * (place % 3), head=HEAD if place % 5 else b'{"model":"m","messages":')
        for place, step in enumerate(found)
    ]
    sizes = BatchSizes(most, max_bytes)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging_module, "PIECE_BYTES", piece_bytes)
        made = asyncio.run(staged_from(Path(folder), items, sizes))
        expected = {item.step: item for item in items}
        for staged in made:
            body = asyncio.run(body_of(staged, number))
            assert len(body) == staged.size_bytes(number) <= max_bytes
            assert staged.requests == len(staged.leases) <= most
            requests = decode(body)["requests"]
            assert [entry["custom_id"] for entry in requests] == [
                custom_id(MARK, number, lease.step) for lease in staged.leases
            ]
            for entry, lease in zip(requests, staged.leases, strict=True):
                item = expected.pop(lease.step)
                assert entry["params"] == decode(item.request.body)
                assert lease == Lease(item.step, item.request.hash, 7, "batch")
        assert all(len(item.request.body) + 100 > max_bytes for item in expected.values()), "one was left out"


@settings(max_examples=30, deadline=None)
@given(steps.filter(lambda found: len(found) > 1), st.integers(1, 29), st.integers(1, 500))
def test_a_split_batch_is_the_two_halves_of_the_whole(found: list[Step], first: int, piece_bytes: int) -> None:
    first = min(first, len(found) - 1)
    items = [prepared(step, "é\n" * place, attempts=place, tries=place) for place, step in enumerate(found)]

    async def scenario(folder: Path) -> None:
        (staged,) = await staged_from(folder, items, BatchSizes())
        whole = decode(await body_of(staged, 3))["requests"]
        one, two = await staged.split(first)
        assert not staged.path.exists()
        assert (one.requests, two.requests) == (first, len(found) - first)
        assert one.sha256 != two.sha256
        parts = [await body_of(part, 3) for part in (one, two)]
        assert [len(part) for part in parts] == [one.size_bytes(3), two.size_bytes(3)]
        assert [entry for part in parts for entry in decode(part)["requests"]] == whole
        assert two.leases.tried(0) == (first, first)

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging_module, "PIECE_BYTES", piece_bytes)
        asyncio.run(scenario(Path(folder)))


@given(steps, st.integers(0, 300))
def test_leases_are_a_sequence_that_knows_what_the_cap_admits(found: list[Step], left: int) -> None:
    leases = Leases()
    for place, step in enumerate(found):
        item = prepared(step, bound_pico=place, attempts=place, tries=place)
        leases.add(item, item.request.hash)
    plain = [Lease(step, step.row.to_bytes(32), place, "batch") for place, step in enumerate(found)]
    assert list(leases) == plain == [leases[place] for place in range(len(found))]
    assert list(leases[1:-1]) == plain[1:-1]
    count = leases.admitted_by(left)
    assert sum(lease.bound_pico for lease in plain[:count]) <= left
    assert count == len(plain) or sum(lease.bound_pico for lease in plain[: count + 1]) > left
    assert [leases.tried(place) for place in range(len(found))] == [(place, place) for place in range(len(found))]
    with pytest.raises(IndexError):
        leases[len(found)]


def test_the_money_is_never_overdrawn() -> None:
    pack = Pack(BatchSizes(), MARK, 20)
    assert [pack.offer(prepared(Step(row)))[0] for row in range(3)] == ["added", "added", "unaffordable"]
    assert pack.offer(prepared(Step(3), bound_pico=None))[0] == "unaffordable"
    assert pack.requests == 2


def test_without_a_cap_an_unknown_price_is_no_hindrance() -> None:
    assert Pack(BatchSizes(), MARK, None).offer(prepared(Step(0), bound_pico=None))[0] == "added"


def test_betas_are_the_whole_batch_s() -> None:
    pack = Pack(BatchSizes(), MARK, None)
    assert pack.offer(prepared(Step(0), betas=("a",)))[0] == "added"
    assert pack.offer(prepared(Step(1), betas=("b",)))[0] == "full"
    assert pack.betas == ("a",)


def test_a_large_request_leaves_in_chunks_of_a_megabyte(tmp_path: Path) -> None:
    async def scenario() -> None:
        (staged,) = await staged_from(tmp_path, [prepared(Step(0), "x" * 3_000_000)], BatchSizes())
        sizes = [len(chunk) async for chunk in staged.chunks(1)]
        assert max(sizes) <= 1024 * 1024
        assert sum(sizes) == staged.size_bytes(1)

    asyncio.run(scenario())


def test_a_shared_head_is_staged_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        head = b'{"system":"' + b"x" * 8_000 + b'","messages":'
        (staged,) = await staged_from(tmp_path, [prepared(Step(row), head=head) for row in range(500)], BatchSizes())
        assert staged.path.stat().st_size < 10_000
        assert staged.path.stat().st_mode & 0o777 == 0o600
        assert staged.size_bytes(1) > 4_000_000

    asyncio.run(scenario())


def test_line_feeds_between_tokens_are_no_part_of_a_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        items = [prepared(Step(row), head=b'{\n"a": 1,\n"b":\n', shared=3) for row in range(3)]
        (staged,) = await staged_from(tmp_path, items, BatchSizes())
        body = await body_of(staged, 1)
        assert len(body) == staged.size_bytes(1)
        assert [entry["params"] for entry in decode(body)["requests"]] == [{"a": 1, "b": "x"}] * 3

    asyncio.run(scenario())


def test_a_body_that_is_no_json_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="control characters"):
        asyncio.run(staged_from(tmp_path, [prepared(Step(0), head=b'{"a":"\x00', shared=0)], BatchSizes()))


def test_the_digest_tells_bodies_apart(tmp_path: Path) -> None:
    async def digest(name: str, *items: Prepared) -> bytes:
        (tmp_path / name).mkdir()
        (staged,) = await staged_from(tmp_path / name, list(items), BatchSizes())
        return staged.sha256

    async def scenario() -> None:
        same = [await digest(name, prepared(Step(0)), prepared(Step(1))) for name in ("a", "b")]
        assert same[0] == same[1]
        others = [
            await digest("c", prepared(Step(1)), prepared(Step(0))),
            await digest("d", prepared(Step(0), head=b'{"model":"n","messages":')),
            await digest("e", prepared(Step(0))),
        ]
        assert len({same[0], *others}) == 4

    asyncio.run(scenario())


def test_the_staging_folder_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / "old").write_text("left")
    asyncio.run(empty(tmp_path / "staging"))
    assert list((tmp_path / "staging").iterdir()) == []
    assert (tmp_path / "staging").stat().st_mode & 0o777 == 0o700


def test_a_full_disk_is_told_as_one() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")

    async def scenario() -> None:
        stager = await Stager.begin(full, MARK, BatchSizes(), None)
        stager.offer_all(deque([prepared(Step(0))]))
        try:
            await stager.seal()
        finally:
            stager.close()

    with pytest.raises(LedgerError) as refused:
        asyncio.run(scenario())
    assert refused.value.code == "disk-full"
