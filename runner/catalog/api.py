"""Facts of the Messages API that are the same for every model.

Owns   the API version that runner speaks and the limits that a request must keep.
Source platform.claude.com: api/versioning, api/errors ("Request size limits"), build-with-claude/prompt-caching; read
       November 2026. A test holds `API_VERSION` to the version that the installed SDK sends.
"""

from __future__ import annotations

API_VERSION = "2026-10-21"
"""Sent as `anthropic-version`; part of a request's identity, because it changes what the API makes of a body."""

MAX_REQUEST_BYTES = 32_000_000
"""Largest body of a Messages call. Documented as "32 MB"; whether that is 10^6 or 2^20 is not said, so the smaller
one holds."""

MAX_BREAKPOINTS = 4
"""Cache breakpoints that a request may carry."""

MAX_BATCH_REQUESTS = 100_000
"""Requests in one batch (batch guide, "Batch limitations")."""

MAX_BATCH_BYTES = 256_000_000
"""Largest body of a batch. Documented as "256 MB", read as above."""

MAX_CUSTOM_ID = 64
"""Characters of a `custom_id`, out of letters, digits, `_` and `-` (batch guide)."""
