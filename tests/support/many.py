"""How many rows a test of memory takes: few enough for every run of the tests, a million by `make test-memory`."""

from __future__ import annotations

import os

MANY = int(os.environ.get("MANY_ROWS", "150000"))
