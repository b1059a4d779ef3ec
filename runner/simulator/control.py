"""The client of a stand-in's control endpoint: scripts its faults, turns its clock, asks its accounts.

Owns   `Controls`, used by tests, benchmarks and the CLI. Calls block; each opens its own connection on the loopback.
Knows  paths and JSON shapes of `/_control/…` (served by `app`), nothing of the server's insides.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from functools import cache
from typing import Any

from msgspec import Struct

TOKEN_HEADER = "x-control-token"  # noqa: S105 - the name of a header
_TIMEOUT_S = 30.0


class ControlFailed(Exception):
    """The stand-in refused a control call; the text is its answer."""


class Controls(Struct, frozen=True):
    base_url: str
    token: str

    def fault(self, kind: str, **rule: Any) -> None:
        """Make requests fail from now on. `rule` narrows which: see `faults.Rule` for its fields.

        fault("529", times=1) · fault("reset", nth=[2, 5]) · fault("refusal", text="row 17") · fault("500", rate=0.1)
        """
        self._call("POST", "/_control/faults", {"kind": kind, **rule})

    def clear_faults(self) -> None:
        self._call("DELETE", "/_control/faults")

    def accounts(self) -> dict[str, Any]:
        """Totals of what was billed: `requests`, `delivered`, `cost_pico`, token sums, `distinct`, `most_repeated`;
        `batches`, `batch_requests`, `batches_repeated`; and `modes`, the same sums by mode."""
        totals: dict[str, Any] = self._call("GET", "/_control/accounts")
        return totals

    def requests(self) -> list[dict[str, Any]]:
        """Every billed request in the order of acceptance: hash, echo, model, usage, cost, delivered, fault."""
        entries: list[dict[str, Any]] = self._call("GET", "/_control/requests")
        return entries

    def counts(self) -> dict[str, int]:
        """How often each request was billed, by its hash."""
        counts: dict[str, int] = self._call("GET", "/_control/counts")
        return counts

    def traffic(self) -> dict[str, Any]:
        """What went over the wire since the last reset: `received`, `in_flight`, `max_in_flight`, `by_status`."""
        traffic: dict[str, Any] = self._call("GET", "/_control/traffic")
        return traffic

    def batches(self) -> list[dict[str, Any]]:
        """Every accepted batch in order: `id`, `at`, `workspace`, `requests`, `body_sha256`, `custom_ids_sha256`,
        `first_custom_id`, `fault` (of the reply to its create), `deleted` and `batch`, the object as it stands."""
        batches: list[dict[str, Any]] = self._call("GET", "/_control/batches")
        return batches

    def uploads(self) -> list[dict[str, Any]]:
        """Every accepted upload in order: `id`, `at`, `workspace`, `filename`, `mime_type`, `size_bytes`, `sha256`,
        `fault` (of its reply)."""
        uploads: list[dict[str, Any]] = self._call("GET", "/_control/uploads")
        return uploads

    def end_batches(self, batch_id: str | None = None) -> int:
        """End a batch at once, a stuck one too (all that are open, where none is named); returns how many."""
        ended: int = self._call("POST", "/_control/batches/end", {"id": batch_id})
        return ended

    def advance(self, seconds: float) -> None:
        """Turn the stand-in's clock forward (cache lifetimes, limits, batches)."""
        self._call("POST", "/_control/clock", {"advance_s": seconds})

    def reset(self) -> None:
        """Forget faults, cache, limits, batches, files and accounts."""
        self._call("POST", "/_control/reset")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {TOKEN_HEADER: self.token, "content-type": "application/json"}
        url = self.base_url + path
        call = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - our own server
        try:
            with _opener().open(call, timeout=_TIMEOUT_S) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise ControlFailed(refusal.read().decode(errors="replace")) from None


@cache
def _opener() -> urllib.request.OpenerDirector:
    """Without the machine's proxies: the stand-in is on the loopback. Made when it is needed: see `storage.web`."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
