"""Whose limits a run meets, and with whom it shares them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.engines.limits import Limits
from runner.engines.pool_file import Scope
from runner.events import Warned
from runner.execution.api import SIMULATOR, Api
from runner.execution.limiting import Among, folder_of, line_of, make_limits, scope_of
from runner.settings import load_settings
from runner.types import Request
from support.engine_fakes import HandClock, Listener, replied
from support.execution_fakes import Bench

KEY = {"ANTHROPIC_API_KEY": "sk-ant-secret"}
SALT = b"s" * 32


def scope(model: str = "claude-opus-5-5", address: str = "https://api.anthropic.com", **environ: str) -> Scope:
    found = scope_of(Api(address, False, {**KEY, **environ}), model)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("claude-opus-5-5", "opus"),
        ("claude-opus-4-5-20251101", "opus"),
        ("claude-sonnet-4-6", "sonnet"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-haiku-5-5", "claude-haiku-5-5"),
        ("some-gateways-model", "some-gateways-model"),
        ("opus", "opus"),
    ],
)
def test_models_that_share_a_pool_at_the_api_share_a_file(model: str, line: str) -> None:
    assert line_of(model) == line


def test_a_key_an_address_and_a_line_make_a_scope() -> None:
    same = scope("claude-opus-4-8")
    assert scope().digest(SALT) == same.digest(SALT)
    others = [
        scope("claude-sonnet-5-5"),
        scope(address="https://gateway.example"),
        scope(ANTHROPIC_API_KEY="another"),
        scope(ANTHROPIC_CUSTOM_HEADERS="Anthropic-Workspace-Id: w2"),
        scope(ANTHROPIC_CUSTOM_HEADERS="Authorization: Bearer secret"),
        scope(ANTHROPIC_CUSTOM_HEADERS="X-Api-Key: sk-ant-secret-2"),
    ]
    digests = {found.digest(SALT) for found in (same, *others)}
    assert len(digests) == 1 + len(others)
    assert not any("secret" in digest for digest in digests)


def test_headers_that_do_not_say_whose_a_request_is_change_no_scope() -> None:
    traced = scope(ANTHROPIC_CUSTOM_HEADERS="x-trace-id: 123\nanthropic-beta: something")
    assert traced.digest(SALT) == scope().digest(SALT)


@pytest.mark.parametrize(
    ("address", "lasting"),
    [("https://api.anthropic.com", True), ("http://127.0.0.1:8080", False), ("http://localhost:8080", False)],
)
def test_what_a_server_on_this_machine_allows_is_not_kept(address: str, lasting: bool) -> None:
    assert scope(address=address).is_lasting is lasting


def test_a_stand_in_of_ones_own_and_a_missing_credential_share_nothing() -> None:
    assert scope_of(Api(SIMULATOR, True, KEY), "m") is None
    assert scope_of(Api("https://api.anthropic.com", False, {"ANTHROPIC_CONFIG_DIR": "/nowhere"}), "m") is None


def test_the_folder_is_the_users_own_and_can_be_set_or_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert folder_of(load_settings(tmp_path, {})) == tmp_path / "rowrunner"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    fallback = folder_of(load_settings(tmp_path, {}))
    assert fallback is not None
    assert fallback.name == f"rowrunner-{os.getuid()}"
    assert folder_of(load_settings(tmp_path, {"RUNNER_LIMITS_DIR": "here"})) == tmp_path / "here"
    assert folder_of(load_settings(tmp_path, {"RUNNER_LIMITS_DIR": "off"})) is None


# -- several processes at one run --------------------------------------------------------------------------------------


def left_in_a_minute(clock: HandClock, all_limits: Sequence[Limits]) -> int:
    """How many requests leave in a minute, each answered at once without a word of limits."""
    request, count, end = Request(b"", b"", b"x" * 300, "m", 100, None), 0, clock.time + 60
    while clock.time < end:
        for limits in all_limits:
            while limits.has_room:
                permit = limits.enter(request)
                limits.leave()
                limits.learn(permit, replied())
                count += 1
        clock.time += 0.01
    return count


@pytest.mark.parametrize("where", ["off", "limits", "file/limits"])
def test_workers_keep_to_the_ceiling_of_a_job_together_wherever_they_cannot_share(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    job = Bench(tmp_path).load("limits.requests_per_minute=601").job
    settings, listener, clock = load_settings(tmp_path, {"RUNNER_LIMITS_DIR": where}), Listener(), HandClock()
    made = [
        make_limits(job, settings, Api(SIMULATOR, True, KEY), clock, listener, among=Among("run-1", number, 3))
        for number in range(3)
    ]
    assert left_in_a_minute(clock, made) == pytest.approx(601, rel=0.05)
    for limits in made:
        limits.close()
    assert list(tmp_path.rglob("*.limits")) == [], "nothing of the run is left"
    assert len(listener.of(Warned)) == (3 if where == "file/limits" else 0)


def test_workers_keep_to_their_parts_once_sharing_has_ended(tmp_path: Path) -> None:
    job = Bench(tmp_path).load("limits.requests_per_minute=601").job
    settings, listener, clock = load_settings(tmp_path, {"RUNNER_LIMITS_DIR": "limits"}), Listener(), HandClock()
    made = [
        make_limits(job, settings, Api(SIMULATOR, True, KEY), clock, listener, among=Among("run-1", number, 3))
        for number in range(3)
    ]
    (path,) = (tmp_path / "limits").glob("*.limits")
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert left_in_a_minute(clock, made) == pytest.approx(601, rel=0.08)
    os.close(holder)
    assert len(listener.of(Warned)) == 3
