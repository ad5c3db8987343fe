"""Random projections of long gradient vectors to a few thousand numbers that keep inner products.

A projector is a fixed matrix R [coordinates, dim] with E[R Rᵀ] = 1, so that ⟨xR, yR⟩ = ⟨x, y⟩ up to an error of about
‖x‖‖y‖/√dim. R is never stored: each entry is an integer hash of (seed, coordinate, column), computed where the gradient
is. So it is the same on every device, in every batch and in every worker, and any stretch of coordinates can be
projected by itself and added to the rest: gradients are projected module by module, as the backward pass meets them.

Two matrices:
    Rademacher: dense ±1/√dim, as LESS (TRAK's projector). Costs `dim` multiply-adds a coordinate.
    Sparse: `nonzeros` entries ±1/√nonzeros a coordinate, one in each of as many blocks of columns (Kane and Nelson
        2014, "Sparser Johnson-Lindenstrauss transforms"). The same variance of inner products for `nonzeros`
        additions a coordinate; the one to use. (With one entry a coordinate the variance is the same again, but two
        large coordinates that collide are far off: four make that rare.)
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from encore.errors import UserError

_GOLDEN, _FIRST, _SECOND = (
    -0x61C8864680B583EB,
    -0x40A7B892E31B1A47,
    -0x6B2FB644ECCEEE15,
)  # splitmix64, as signed numbers
_CHUNK = 1 << 22
"""Most entries of R at once (16 MB in float32)."""


class Projector(Protocol):
    """What `gradients.features` needs of a projection."""

    def width(self, coordinates: int) -> int:
        """Length of a projected vector."""

    def add(self, total: Float[Tensor, "examples dim"], values: Float[Tensor, "examples part"], offset: int) -> None:
        """Adds to `total` the projection of the coordinates `offset` and after."""

    def describe(self) -> dict[str, Any]:
        """All that makes the matrix, for the record of a store."""


@dataclass(frozen=True)
class Sparse:
    """A few signed ones a coordinate."""

    dim: int = 8192
    seed: int = 0
    nonzeros: int = 4

    def __post_init__(self) -> None:
        if self.nonzeros < 1 or self.dim % self.nonzeros:
            raise UserError(f"projector: dim {self.dim} is not a multiple of nonzeros {self.nonzeros}")

    def width(self, coordinates: int) -> int:
        return self.dim

    def add(self, total: Float[Tensor, "examples dim"], values: Float[Tensor, "examples part"], offset: int) -> None:
        block = self.dim // self.nonzeros
        coordinates = torch.arange(offset, offset + values.shape[1], device=values.device)
        for number in range(self.nonzeros):
            random = scrambled(coordinates * self.nonzeros + number, self.seed)
            columns = (random >> 1).remainder(block) + number * block
            signs = ((random & 1) * 2 - 1).to(values.dtype) * self.nonzeros**-0.5
            total.scatter_add_(1, columns.expand(values.shape), values * signs)

    def describe(self) -> dict[str, Any]:
        return {"kind": "sparse", **asdict(self)}


@dataclass(frozen=True)
class Rademacher:
    """A fair coin for every coordinate and column."""

    dim: int = 8192
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dim % 32:
            raise UserError(f"projector: dim {self.dim} is not a multiple of 32, the signs that one hash gives")

    def width(self, coordinates: int) -> int:
        return self.dim

    def add(self, total: Float[Tensor, "examples dim"], values: Float[Tensor, "examples part"], offset: int) -> None:
        step = max(1, _CHUNK // self.dim)
        for start in range(0, values.shape[1], step):
            part = values[:, start : start + step]
            coordinates = torch.arange(offset + start, offset + start + part.shape[1], device=values.device)
            total.addmm_(part, self.signs(coordinates).to(values.dtype), alpha=self.dim**-0.5)

    def signs(self, coordinates: Int[Tensor, " part"]) -> Int[Tensor, "part dim"]:
        """Rows of the matrix, unscaled: ±1 in int8."""
        words = torch.arange(self.dim // 32, device=coordinates.device)
        random = scrambled(coordinates[:, None] * len(words) + words, self.seed) >> 16
        bits = random.to(torch.int32)[..., None] >> torch.arange(32, device=coordinates.device, dtype=torch.int32)
        return ((bits & 1) * 2 - 1).to(torch.int8).flatten(1)

    def describe(self) -> dict[str, Any]:
        return {"kind": "rademacher", **asdict(self)}


@dataclass(frozen=True)
class Whole:
    """No projection: the gradient itself, for adapters that are small enough to keep."""

    def width(self, coordinates: int) -> int:
        return coordinates

    def add(self, total: Float[Tensor, "examples dim"], values: Float[Tensor, "examples part"], offset: int) -> None:
        total[:, offset : offset + values.shape[1]] += values

    def describe(self) -> dict[str, Any]:
        return {"kind": "whole"}


def scrambled(keys: Int[Tensor, "*shape"], seed: int) -> Int[Tensor, "*shape"]:
    """64 random bits for each key: the output function of splitmix64 (Steele, Lea and Flood 2014), in integers only."""
    salt = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "little", signed=True)
    random = keys * _GOLDEN + salt
    random = (random ^ _shifted(random, 30)) * _FIRST
    random = (random ^ _shifted(random, 27)) * _SECOND
    return random ^ _shifted(random, 31)


def _shifted(random: Tensor, bits: int) -> Tensor:
    """Logical shift to the right, which torch has for unsigned numbers only."""
    return (random >> bits) & ((1 << (64 - bits)) - 1)
