"""Images and PDFs of real sizes, drawn for tests."""

from __future__ import annotations

import io
import random
from functools import cache

from PIL import Image
from reportlab.lib.pagesizes import letter
from reportlab.pdfgen.canvas import Canvas


@cache
def picture(width: int = 800, height: int = 600, kind: str = "PNG", *, seed: int = 1) -> bytes:
    """A picture with some detail in it, such as a photo has."""
    dice = random.Random(seed)
    few = max(1, width // 40), max(1, height // 40)
    small = Image.frombytes("RGB", few, dice.randbytes(few[0] * few[1] * 3))
    target = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(target, kind)
    return target.getvalue()


@cache
def noise(width: int, height: int, *, seed: int = 1) -> bytes:
    """A PNG that no compression makes smaller."""
    data = random.Random(seed).randbytes(width * height * 3)
    target = io.BytesIO()
    Image.frombytes("RGB", (width, height), data).save(target, "PNG", compress_level=0)
    return target.getvalue()


@cache
def pdf(pages: int = 3, *, seed: int = 1, lines: int = 50, compressed: bool = True) -> bytes:
    """A PDF of text, always the same bytes for the same arguments."""
    dice = random.Random(seed)
    words = ("invoice", "total", "paid", "delivery", "of", "the", "order", "customer", "number", "due", "within")
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=letter, pageCompression=int(compressed), invariant=1)
    for page in range(pages):
        for line in range(lines):
            text = " ".join(dice.choice(words) for _ in range(12))
            canvas.drawString(50, 740 - 13 * line, f"{page + 1}.{line + 1} {text}")
        canvas.showPage()
    canvas.save()
    return target.getvalue()
