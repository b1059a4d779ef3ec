"""The stand-in as the conformance suite of providers asks for its server."""

from __future__ import annotations

from support.api import SimulatedApi


class StandIn:
    """The stand-in as the suite asks for it."""

    def __init__(self, api: SimulatedApi) -> None:
        self._api = api

    def refuse_next(self, status: int) -> None:
        self._api.clear_faults()
        self._api.fault(str(status), times=1)

    def drop_next(self) -> None:
        self._api.clear_faults()
        self._api.fault("reply_lost", times=1)

    def received(self) -> int:
        return int(self._api.traffic()["received"])

    def refuse_next_batch(self, status: int) -> None:
        self._api.clear_faults()
        self._api.fault(str(status), path="batch_create", times=1)

    def drop_next_batch(self) -> None:
        self._api.clear_faults()
        self._api.fault("reply_lost", path="batch_create", times=1)

    def end_batches(self) -> None:
        self._api.end_batches()

    def batches(self) -> int:
        return len(self._api.batches())

    def refuse_next_upload(self, status: int) -> None:
        self._api.clear_faults()
        self._api.fault(str(status), path="file_upload", times=1)

    def drop_next_upload(self) -> None:
        self._api.clear_faults()
        self._api.fault("reply_lost", path="file_upload", times=1)

    def uploads(self) -> list[bytes]:
        return [bytes.fromhex(upload["sha256"]) for upload in self._api.uploads()]
