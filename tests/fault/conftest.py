"""The stand-in that most tests here share: its batches take a moment, so that a run can be killed while they do."""

from __future__ import annotations

import pytest

from support.batch_jobs import BATCH_API


@pytest.fixture(scope="module")
def api_options() -> dict[str, str]:
    return BATCH_API
