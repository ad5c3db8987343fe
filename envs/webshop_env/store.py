"""Products on disk: a catalogue that is too large for memory is unpacked once into one file and read back by number."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np

from webshop_env.catalogue import Product
from webshop_env.nouns import TitleNouns

CACHED_PRODUCTS = 4096
FIELDS = (
    "asin", "title", "description", "bullets", "pricing", "options", "category", "query", "product_category",
    "attributes", "instruction", "instruction_attributes",
)  # fmt: skip


def write_products(products: Iterable[Product], path: Path) -> None:
    """Writes products as JSON lines, with their offsets beside (`<path>.offsets.npy`), and nothing if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    offsets = [0]
    with partial.open("wb") as out:
        for product in products:
            row = [getattr(product, name) for name in FIELDS]
            line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
            out.write(line + b"\n")
            offsets.append(offsets[-1] + len(line) + 1)
    np.save(path.with_suffix(".offsets.npy"), np.array(offsets, dtype=np.int64))
    partial.replace(path)


class StoredProducts(Sequence[Product]):
    """The products of such a file: decoded when asked for, the latest few thousand kept."""

    def __init__(self, path: Path, nouns: TitleNouns) -> None:
        self._offsets = np.load(path.with_suffix(".offsets.npy"))
        self._nouns = nouns
        with path.open("rb") as source:
            self._bytes = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
        self._cached = lru_cache(maxsize=CACHED_PRODUCTS)(self._read)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, number: int) -> Product: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Product]: ...
    def __getitem__(self, number: int | slice) -> Product | Sequence[Product]:
        if isinstance(number, slice):
            return [self._read(place) for place in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"product {number} of {len(self)}")
        return self._cached(number % len(self))

    def __iter__(self) -> Iterator[Product]:
        return map(self._read, range(len(self)))

    def _read(self, number: int) -> Product:
        line = self._bytes[self._offsets[number] : self._offsets[number + 1]]
        row: dict[str, Any] = dict(zip(FIELDS, json.loads(line.decode("utf-8", "surrogatepass")), strict=True))
        for name in ("bullets", "pricing", "attributes", "instruction_attributes"):
            row[name] = tuple(row[name])
        row["options"] = {name: tuple(values) for name, values in row["options"].items()}
        return Product(**row, noun_table=self._nouns)
