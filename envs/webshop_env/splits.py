"""Which goals are for training and which for testing. A result has to name its split.

`official`: goals 0-499 test, 500-1499 dev, the rest train (baseline_models/env.py). On the 1,000-product set 481 of its
500 test goals ask for a product that training goals ask for too. `product_disjoint`: no product occurs in two parts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from webshop_env.goals import Goals
from webshop_env.records import ShopDataError

SplitName = Literal["official", "product_disjoint"]
Part = Literal["test", "dev", "train"]
OFFICIAL = {"test": (0, 500), "dev": (500, 1500), "train": (1500, None)}
DISJOINT_SHARES = {"test": (0.0, 0.2), "dev": (0.2, 0.3), "train": (0.3, 1.0)}  # of the products


@dataclass(frozen=True)
class GoalSplit:
    """Goal indices of one part, in official order."""

    name: SplitName
    part: Part
    indices: tuple[int, ...]

    @property
    def label(self) -> str:
        """How a table names it, e.g. "official/test"."""
        return f"{self.name}/{self.part}"

    def __len__(self) -> int:
        return len(self.indices)


def split_goals(goals: Goals, name: SplitName = "official", part: Part = "test") -> GoalSplit:
    """The goals of one part. Raises ShopDataError for unknown names and for an official split of too few goals."""
    if name not in ("official", "product_disjoint") or part not in OFFICIAL:
        raise ShopDataError(f"no split '{name}/{part}': take official or product_disjoint, and test, dev or train")
    if name == "official":
        first, end = OFFICIAL[part]
        if len(goals) <= OFFICIAL["train"][0]:
            raise ShopDataError(f"{len(goals)} goals are too few for the official split: take product_disjoint")
        return GoalSplit(name, part, tuple(range(len(goals))[first:end]))
    low, high = DISJOINT_SHARES[part]
    chosen = {asin for asin in set(map(goals.asin, range(len(goals)))) if low <= _place(asin) < high}
    return GoalSplit(name, part, tuple(i for i in range(len(goals)) if goals.asin(i) in chosen))


def _place(asin: str) -> float:
    """A number in [0, 1) that belongs to the asin alone, so a product keeps its part in every catalogue."""
    return int.from_bytes(hashlib.sha256(asin.encode()).digest()[:6], "big") / (1 << 48)
