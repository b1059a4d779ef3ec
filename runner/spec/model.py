"""What all models of a job share: how a model says what `spec.shape` and `spec.schema` both need.

Beside its fields a model says, as class variables:
  short    the field that a bare string stands for (`dataset: a.csv`)
  one_of   groups of keys of which one at most may be given; one must be, unless `needs_choice` is false
  later    keys that are refused as not supported yet, never ignored
  kind     the field that says what the others belong to: a layer that gives another one replaces the whole
A field marked `OneOrMany` takes a single item without a list.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct
from pydantic import BaseModel, ConfigDict


class OneOrMany(Struct, frozen=True):
    """Marks a list field that takes one item without brackets."""


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    short: ClassVar[str | None] = None
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = ()
    needs_choice: ClassVar[bool] = True
    later: ClassVar[frozenset[str]] = frozenset()
    kind: ClassVar[str | None] = None
