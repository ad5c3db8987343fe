"""Preference pairs from rows with references: a row's own solution above a spoiled one.

There are no people's preferences here. A spoiled solution answers another row, loses its tags, ends early or says
itself twice. A model that puts the own one above has learned to look for the answer, the form and the end, and that is
all that a reward model of this scale can be asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from encore.benchmarks import Item
from encore.errors import UserError
from encore.rewards.preference_training import PreferencePair


@dataclass(frozen=True)
class Spoiled:
    """A pair, and how its rejected response was made: a name of SPOILS."""

    pair: PreferencePair
    spoiled: str


def _other_answer(item: Item, other: Item, chance: random.Random) -> str:
    return item.solution.replace(f"<answer>{item.reference}</answer>", f"<answer>{other.reference}</answer>")


def _no_tags(item: Item, other: Item, chance: random.Random) -> str:
    return " ".join(part for part in (item.thought, item.reference) if part)


def _cut(item: Item, other: Item, chance: random.Random) -> str:
    return item.solution[: max(1, int(len(item.solution) * chance.uniform(0.3, 0.8)))]


def _twice(item: Item, other: Item, chance: random.Random) -> str:
    return item.solution + item.solution


SPOILS: dict[str, Callable[[Item, Item, random.Random], str]] = {
    "other answer": _other_answer,
    "no tags": _no_tags,
    "cut": _cut,
    "twice": _twice,
}


def make_pairs(items: Sequence[Item], number: int, seed: int) -> list[Spoiled]:
    """`number` pairs, the kinds in turn, rows in a seeded order and anew when they are used up.

    Raises UserError for fewer than two rows.
    """
    if len(items) < 2:
        raise UserError(f"preference pairs need two rows with references, and there are {len(items)}")
    chance = random.Random(seed)
    pairs: list[Spoiled] = []
    order: list[int] = []
    while len(pairs) < number:
        if not order:
            order = chance.sample(range(len(items)), len(items))
        item, other = items[order.pop()], items[chance.randrange(len(items))]
        name = list(SPOILS)[len(pairs) % len(SPOILS)]
        rejected = SPOILS[name](item, other, chance)
        if rejected != item.solution:
            pairs.append(Spoiled(PreferencePair(item.prompt, item.solution, rejected), name))
    return pairs
