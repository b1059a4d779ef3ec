from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.clock import SystemClock
from runner.errors import SetupError
from runner.simulator import ControlFailed, Options, launch, serve
from support.api import billed_after_the_end, simulated_api

ASK = {"model": "claude-haiku-5-5", "max_tokens": 500, "messages": [{"role": "user", "content": "Why?"}]}


def call(
    url: str, key: str = "simulated-key", method: str = "POST", body: Any = ASK, **headers: str
) -> tuple[int, Any]:
    sent = {"x-api-key": key, "anthropic-version": "2026-10-21"} | {k.replace("_", "-"): v for k, v in headers.items()}
    request = urllib.request.Request(url, json.dumps(body).encode() if method == "POST" else None, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_the_front_door_imports_no_server() -> None:
    code = "import sys, runner.simulator; print([m for m in ('aiohttp', 'uvloop', 'genai_prices') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_child_ends_with_its_context(tmp_path: Path) -> None:
    with launch(Options(state=tmp_path)) as running:
        assert call(running.base_url + "/v1/messages")[0] == 200
    assert gone(running.pid)


def test_the_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from runner.simulator import *\n"
        "with launch(Options(state=pathlib.Path(sys.argv[1]))) as running:\n"
        "    print(running.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    psutil.wait_procs([child], timeout=60)
    assert gone(child.pid)


def test_the_child_gets_no_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "real-key")
    with launch(Options(state=tmp_path)) as running:
        environment = Path(f"/proc/{running.pid}/environ").read_bytes()
        arguments = Path(f"/proc/{running.pid}/cmdline").read_bytes()
    assert b"real-key" not in environment + arguments


def test_the_child_imports_nothing_from_the_folder_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("orjson", "aiohttp", "runner"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is the project, not a package')")
    monkeypatch.chdir(tmp_path)
    with launch(Options(state=tmp_path / "state")) as running:
        assert call(running.base_url + "/v1/messages")[0] == 200


def test_a_child_that_cannot_start_is_a_setup_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="did not start"), launch(Options(state=tmp_path / "file")):
        pass


def test_accounts_outlive_a_killed_stand_in(tmp_path: Path) -> None:
    with simulated_api(tmp_path) as api:
        for _ in range(3):
            assert call(api.base_url + "/v1/messages")[0] == 200
        os.kill(api.running.pid, signal.SIGKILL)
    assert billed_after_the_end(api)["requests"] == 3
    with simulated_api(tmp_path) as again:
        assert again.accounts()["requests"] == 3


def test_serve_ends_with_the_child(tmp_path: Path) -> None:
    killer: list[threading.Timer] = []

    def stop_soon(running: Any) -> None:
        killer.append(threading.Timer(0.1, os.kill, (running.pid, signal.SIGTERM)))
        killer[0].start()

    assert serve(Options(state=tmp_path), stop_soon) == 0
    killer[0].join()


def test_requests_are_refused_before_anything_else_where_the_frame_is_wrong(tmp_path: Path) -> None:
    with simulated_api(tmp_path) as api:
        url = api.base_url + "/v1/messages"
        assert call(url, key="")[0] == 401
        assert call(url, anthropic_version="1999-01-01")[0] == 400
        assert call(url, method="GET")[0] == 405
        assert call(api.base_url + "/v1/nothing")[0] == 404
        assert call(api.base_url + "/v1/models/nothing", method="GET")[0] == 404
        assert call(api.base_url + "/v1/models?limit=0", method="GET")[0] == 400
        status, answer = call(api.base_url + "/_control/accounts", method="GET")
        assert (status, answer["error"]["type"]) == (401, "authentication_error")
        with pytest.raises(ControlFailed, match="is none of"):
            api.fault("earthquake")
        assert api.accounts()["requests"] == 0


def test_a_stand_in_can_accept_any_key_and_limit_and_delay(tmp_path: Path) -> None:
    with simulated_api(tmp_path, key="*", rpm=2, latency="100ms", faults={"slow": 0.0}) as api:
        url = api.base_url + "/v1/messages"
        clock = SystemClock()
        started = clock.monotonic()
        assert [call(url, key=str(number))[0] for number in range(3)] == [200, 200, 429]
        assert clock.monotonic() - started >= 0.2
        api.advance(60)
        assert call(url)[0] == 200
        assert api.traffic()["by_status"] == {"200": 3, "429": 1}
