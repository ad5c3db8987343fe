"""Feature rows scaled to unit length, read in blocks: cosines of a few rows with all at the price of one reading.

Products are taken in float32, whatever the rows are kept in; `exact` gives single rows in float64, for decisions that
are closer than float32 can tell apart.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from encore.errors import UserError
from encore.gradients import Store
from encore.selection.blocks import Queries, lengths, some_products

ROUNDING = 2e-6
"""More than cosines in float32 ever err: 1e-7 was the largest error seen for unit rows of 8,192 numbers."""

_NUMBERS_AT_ONCE = 1 << 21
_TYPES = {"fp16": np.float16, "int8": np.int8, "fp32": np.float32}


class Rows(Protocol):
    """Unit rows of an inner-product space: what a walk needs to know of a pool."""

    dim: int

    def __len__(self) -> int: ...

    def cosines(self, queries: Float[Tensor, "queries dim"]) -> Float[Tensor, "queries rows"]:
        """Inner products of the queries with every unit row, float32."""

    def some_cosines(
        self, queries: Float[Tensor, "queries dim"], wanted: Sequence[np.ndarray]
    ) -> list[Float[np.ndarray, " wanted"]]:
        """The same for some rows of each query, which `wanted` names, ascending; on a CPU."""

    def unit(self, places: Sequence[int] | np.ndarray) -> Float[Tensor, "places dim"]:
        """Unit rows in float32, on the CPU."""

    def cosines_of(self, places: np.ndarray, query: Float[np.ndarray, " dim"]) -> Float[np.ndarray, " places"]:
        """Inner products of a query with some unit rows, float32, which are read one by one; on a CPU."""

    def exact(self, places: Sequence[int]) -> Float[Tensor, "places dim"]:
        """Unit rows in float64, on the CPU."""


class UnitRows:
    """The rows of a store, or of a tensor or array that is in memory, each divided by its length.

    Args:
        features: [rows, dim]; a store is read through memory maps, block by block.
        what: whose rows they are, for errors.
        device: where to multiply; rows that fit there are moved once and kept.

    Raises:
        UserError: no rows; a row of zeros or with NaN. A store in fp16 or int8 says so by its scales; other rows when
            they are first read, which is before any is chosen.
    """

    def __init__(self, features: Store | Tensor | np.ndarray, what: str = "pool", device: str | None = None):
        self.what = what
        self.names: Sequence[str] | None = None
        if isinstance(features, Store):
            self.names = features.ids
            self.parts = [_mapped(features, number) for number in range(len(features.shards))]
            self.dim = features.dim
            self._check(_scales(features))
        else:
            rows = torch.as_tensor(features).detach()
            if rows.ndim != 2:
                raise UserError(f"{what} features are examples x dimensions, not of shape {list(rows.shape)}")
            self.parts, self.dim = [rows], rows.shape[1]
        self.ends = np.cumsum([0] + [len(part) for part in self.parts])
        if not len(self):
            raise UserError(f"the {what} has no feature rows")
        self.device = torch.device(device or (self.parts[0].device if self.parts else "cpu"))
        if self.device.type == "cuda" and self._fits():
            self.parts = [part.to(self.device) for part in self.parts]
        self._norms: Float[Tensor, " rows"] | None = None

    def __len__(self) -> int:
        return int(self.ends[-1])

    def blocks(self) -> Iterator[tuple[slice, Float[Tensor, "block dim"]]]:
        """All rows in order as they are kept, in float32, a block at a time; a block is gone when the next comes."""
        count = max(1, _NUMBERS_AT_ONCE // max(1, self.dim))
        buffer: Tensor | None = None
        for part, first in zip(self.parts, self.ends, strict=False):
            for start in range(0, len(part), count):
                block = part[start : start + count]
                if block.dtype != torch.float32 or block.device != self.device:
                    if buffer is None:  # one for all: new memory for each block costs more than the conversion
                        buffer = torch.empty(count, self.dim, device=self.device)
                    block = buffer[: len(block)].copy_(block)
                yield slice(int(first) + start, int(first) + start + len(block)), block

    def cosines(self, queries: Float[Tensor, "queries dim"]) -> Float[Tensor, "queries rows"]:
        """Inner products of the queries with every unit row, float32, in one reading of the rows."""
        asked = Queries(queries.to(self.device, torch.float32))
        found = torch.empty(len(queries), len(self), device=self.device)
        first_time = self._norms is None
        norms = torch.empty(len(self), device=self.device) if self._norms is None else self._norms
        for where, block in self.blocks():
            if first_time:
                norms[where] = lengths(block)
            found[:, where] = asked.products(block)
        if first_time:
            self._check(norms)
            self._norms = norms
        return found.div_(norms)

    def some_cosines(
        self, queries: Float[Tensor, "queries dim"], wanted: Sequence[np.ndarray]
    ) -> list[Float[np.ndarray, " wanted"]]:
        """Inner products of each query with the unit rows that are wanted of it, float32, in one reading."""
        owner = np.repeat(np.arange(len(wanted)), [len(one) for one in wanted])
        rows = np.concatenate([np.zeros(0, np.int64), *wanted])
        order = np.argsort(rows, kind="stable")
        starts = np.concatenate([[0], np.bincount(rows, minlength=len(self)).cumsum()])
        columns = torch.from_numpy(owner[order])
        values = torch.empty(len(order))
        for where, block in self.blocks():
            first, last = starts[where.start], starts[where.stop]
            if first == last:
                continue
            ends = torch.from_numpy(starts[where.start : where.stop + 1] - first)
            values[first:last] = some_products(block, queries, ends, columns[first:last])
        found = np.empty(len(order), np.float32)
        found[order] = values.numpy()
        found /= self._lengths_here[rows]
        return np.split(found, np.cumsum([len(one) for one in wanted])[:-1])

    @property
    def norms(self) -> Float[Tensor, " rows"]:
        """Lengths of the rows as they are kept (a store's without its scales)."""
        if self._norms is None:
            norms = torch.empty(len(self), device=self.device)
            for where, block in self.blocks():
                norms[where] = lengths(block)
            self._check(norms)
            self._norms = norms
        return self._norms

    @functools.cached_property
    def _lengths_here(self) -> Float[np.ndarray, " rows"]:
        return self.norms.cpu().numpy()

    def unit(self, places: Sequence[int] | np.ndarray) -> Float[Tensor, "places dim"]:
        """Unit rows in float32, on the CPU."""
        wanted = np.asarray(places, dtype=np.int64)
        rows = self._rows(wanted, np.float32)
        return torch.from_numpy(np.divide(rows, self._lengths_here[wanted][:, None], out=rows))

    def cosines_of(self, places: np.ndarray, query: Float[np.ndarray, " dim"]) -> Float[np.ndarray, " places"]:
        """Inner products of a query with some unit rows, float32, which are read one by one."""
        return (self._rows(places, np.float32) @ query) / self._lengths_here[places]

    def exact(self, places: Sequence[int]) -> Float[Tensor, "places dim"]:
        """Unit rows in float64, on the CPU."""
        rows = torch.from_numpy(self._rows(np.asarray(places, dtype=np.int64), np.float64))
        return rows.div_(torch.linalg.vector_norm(rows, dim=1, keepdim=True))

    @functools.cached_property
    def _whole_here(self) -> np.ndarray | None:
        """All rows, where they are one array that numpy can read."""
        first = self.parts[0]
        here = len(self.parts) == 1 and first.device.type == "cpu" and first.dtype != torch.bfloat16
        return first.numpy() if here else None

    def _rows(self, wanted: np.ndarray, dtype: type[np.floating]) -> Float[np.ndarray, "places dim"]:
        """Rows as they are kept, in new memory."""
        if self._whole_here is not None:
            return self._whole_here.take(wanted, 0).astype(dtype, copy=False)
        rows = np.empty((len(wanted), self.dim), dtype)
        owner = np.searchsorted(self.ends, wanted, side="right") - 1
        for number in np.unique(owner):
            mine = np.flatnonzero(owner == number)
            part = self.parts[number]
            found = part[torch.from_numpy(wanted[mine] - self.ends[number]).to(part.device)]
            rows[mine] = found.to("cpu", torch.float64 if dtype is np.float64 else torch.float32).numpy()
        return rows

    def _check(self, sizes: Tensor) -> None:
        """Refuses the first row whose size is zero or no number."""
        bad = (~torch.isfinite(sizes)) | (sizes == 0)
        if bool(bad.any()):
            place = int(bad.int().argmax())
            name = f" ({self.names[place]})" if self.names else ""
            kind = "zero" if float(sizes[place]) == 0 else "not finite"
            raise UserError(f"the gradient of {self.what} example {place}{name} is {kind}: drop the example")

    def _fits(self) -> bool:
        size = sum(part.numel() * part.element_size() for part in self.parts)
        return size < 0.6 * torch.cuda.mem_get_info(self.device)[0]


class Checkpoints:
    """Several checkpoints' rows as one: the cosine of two examples is the weighted mean of their cosines at each."""

    def __init__(self, parts: Sequence[UnitRows], weights: Sequence[float]):
        self.parts = parts
        self.shares = np.sqrt(np.asarray(weights, dtype=np.float64) / np.sum(weights))
        self.dim = sum(part.dim for part in parts)

    def __len__(self) -> int:
        return len(self.parts[0])

    def cosines(self, queries: Float[Tensor, "queries dim"]) -> Float[Tensor, "queries rows"]:
        pieces = queries.split([part.dim for part in self.parts], dim=1)
        found = self.parts[0].cosines(pieces[0] * self.shares[0])
        for part, piece, share in zip(self.parts[1:], pieces[1:], self.shares[1:], strict=True):
            found += part.cosines(piece * share)
        return found

    def some_cosines(
        self, queries: Float[Tensor, "queries dim"], wanted: Sequence[np.ndarray]
    ) -> list[Float[np.ndarray, " wanted"]]:
        pieces = queries.split([part.dim for part in self.parts], dim=1)
        every = [
            part.some_cosines(piece * float(share), wanted)
            for part, piece, share in zip(self.parts, pieces, self.shares, strict=True)
        ]
        return [np.sum(of_parts, axis=0) for of_parts in zip(*every, strict=True)]

    def unit(self, places: Sequence[int] | np.ndarray) -> Float[Tensor, "places dim"]:
        return torch.cat(
            [part.unit(places) * float(share) for part, share in zip(self.parts, self.shares, strict=True)], 1
        )

    def cosines_of(self, places: np.ndarray, query: Float[np.ndarray, " dim"]) -> Float[np.ndarray, " places"]:
        pieces = np.split(query, np.cumsum([part.dim for part in self.parts])[:-1])
        every = zip(self.parts, pieces, self.shares, strict=True)
        return np.sum([part.cosines_of(places, piece * np.float32(share)) for part, piece, share in every], axis=0)

    def exact(self, places: Sequence[int]) -> Float[Tensor, "places dim"]:
        return torch.cat([part.exact(places) * share for part, share in zip(self.parts, self.shares, strict=True)], 1)


def whole(features: Store | Tensor | np.ndarray, what: str) -> Float[Tensor, "rows dim"]:
    """All rows with their lengths, in float64, checked: for targets, which are few.

    Raises:
        UserError: as `UnitRows`.
    """
    _ = UnitRows(features, what).norms
    rows = torch.from_numpy(features[:]) if isinstance(features, Store) else torch.as_tensor(features).detach()
    return rows.to("cpu", torch.float64)


def _mapped(store: Store, number: int) -> Tensor:
    shard = store.shards[number]
    shape = (len(shard.ids), store.dim)
    return torch.from_numpy(np.memmap(shard.path, _TYPES[store.dtype], "c", shard.starts["values"], shape))


def _scales(store: Store) -> Float[Tensor, " rows"]:
    """What says of each row whether it is zero or NaN; a store in fp32 keeps that in the rows themselves."""
    found = [np.memmap(s.path, np.float32, "r", s.starts["scales"], (len(s.ids),)) for s in store.shards]
    return torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *found]))
