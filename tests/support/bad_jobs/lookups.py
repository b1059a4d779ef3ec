"""Functions for broken jobs: most of these are fine, and what is wrong is how a job names them."""

from __future__ import annotations

from typing import Any


def find_customer(name: str, since: str | None = None) -> str:
    """Find a customer by name."""
    return f"{name} {since}"


def find_order(number: int) -> str:
    """Find an order by its number."""
    return str(number)


def unannotated(name, limit: int = 3):  # type: ignore[no-untyped-def]  # that is the mistake
    """Find anything."""
    return name, limit


def by_place(name: str, /) -> str:
    """Find by what stands first."""
    return name


def silent(name: str) -> str:
    return name


def open_ended(tree: dict[str, Any]) -> str:
    """Find in a tree."""
    return str(tree)


LIMIT = 3
