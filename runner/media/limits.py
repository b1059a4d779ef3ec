"""What the API takes of images and PDFs.

Owns   the numbers. Limits of whole requests are in `catalog.api`.
Source: platform.claude.com build-with-claude/vision ("General limits") and build-with-claude/pdf-support ("Check PDF
        requirements"), as of autumn 2026.
"""

from __future__ import annotations

MAX_IMAGE_EDGE = 8_000
"""Pixels of an image's longer edge."""

MANY_IMAGES = 20
MAX_IMAGE_EDGE_OF_MANY = 2_000
"""In a request with more images than that, no edge may be longer than this."""

MAX_IMAGE_BASE64 = 10_000_000
"""Characters of an image's base64 text. Documented as 10 MB, and until 2026 as 5 MB, which it is on Bedrock and Vertex
still."""

SCALED_IMAGE_BASE64 = 5_000_000
"""What an image is scaled to where it has to be: right by the older limit too."""

MAX_MEDIA = 600
MAX_MEDIA_SHORT_CONTEXT = 100
"""Images of a request, and pages of its PDFs; the second for models with a short context."""

SHORT_CONTEXT = 200_000
"""Tokens of the context of those models."""


def largest_edge(images: int) -> int:
    """Pixels that an edge of an image may have in a request with so many of them."""
    return MAX_IMAGE_EDGE_OF_MANY if images > MANY_IMAGES else MAX_IMAGE_EDGE
