"""From rows as they were read to a pool or a target: what is drawn, with which seed, and what the card says of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from encore.data.cards import DataCard
from encore.data.instructions import Instruction
from encore.data.registry_types import Pool, Target
from encore.data.settings import DataSettings
from encore.errors import UserError

Raw = tuple[str, str, str, str]
"""Prompt, response, family, subtask."""
Fits = Callable[[Instruction], bool]
"""Whether a model's context holds a row. One that it does not hold is passed over: sizes are of what remains."""


@dataclass(frozen=True)
class Part:
    """Rows of one split, and what their card says: licence, source, revision and notes (which may be empty)."""

    rows: list[Instruction]
    about: dict[str, str]

    @classmethod
    def of(cls, raw: Iterable[Raw], prefix: str, **about: str) -> Part:
        """Instructions with their place as id; those without a prompt or a response are left out, and counted."""
        named = [Instruction(f"{prefix}-{place}", *one) for place, one in enumerate(raw)]
        rows = [row for row in named if row.prompt and row.response]
        left_out = len(named) - len(rows)
        if left_out:
            about["notes"] = _join(about["notes"], f"left out: {left_out} rows without a question or an answer")
        return cls(rows, about)


def draw_pool(name: str, part: Part, settings: DataSettings, fits: Fits | None = None) -> Pool:
    """At most `settings.pool_size` rows that fit, in their own order."""
    rows = _sample(part.rows, settings.pool_size, f"{settings.seed}:{name}", fits)
    _check_some_fit(f"pool {name}", part.rows, rows)
    return Pool(name, rows, DataCard.of(name, "pool", rows, **part.about))


def draw_target(
    name: str, domain: str, tested: Part, shots: Part | None, settings: DataSettings, fits: Fits | None = None
) -> Target:
    """`settings.shots` validation rows a subtask of `shots`, at most `settings.evaluation` test rows a subtask.

    Of the test rows at most `settings.target_size` in all, of every subtask as many as of the others while it has
    more. Without `shots` the validation rows too are drawn from the rows that are tested on. No validation question
    is tested on.
    """
    source = shots or tested
    shown = _by_subtask(source.rows, settings.shots, f"{settings.seed}:{name}:shots", fits)
    asked = {row.question for row in shown}
    rest = [row for row in tested.rows if row.question not in asked]
    rest = _by_subtask(rest, settings.evaluation, f"{settings.seed}:{name}:evaluation", fits)
    rest = _in_equal_parts(rest, settings.target_size, f"{settings.seed}:{name}:target_size")
    _check_some_fit(f"target {name} (validation)", source.rows, shown)
    _check_some_fit(f"target {name} (test)", [row for row in tested.rows if row.question not in asked], rest)
    about = source.about
    if shots is None:
        drawn = "drawn from the test rows, which lose them: a passage may serve another question of the test"
        about = about | {"notes": _join(about["notes"], drawn)}
    cards = [
        DataCard.of(name, "validation", shown, **about),
        DataCard.of(name, "evaluation", rest, **tested.about),
    ]
    return Target(name, domain, shown, rest, cards)


def _check_some_fit(what: str, rows: Sequence[Instruction], kept: Sequence[Instruction]) -> None:
    if rows and not kept:
        raise UserError(f"no row of {what} fits into the model's context: raise policy.max_length, or leave it out")


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _sample(rows: list[Instruction], size: int | None, seed: str, fits: Fits | None) -> list[Instruction]:
    if size is None or size >= len(rows):
        return [row for row in rows if fits is None or fits(row)]
    kept: list[int] = []
    for place in random.Random(seed).sample(range(len(rows)), len(rows)):  # no more rows are looked at than it takes
        if len(kept) == size:
            break
        if fits is None or fits(rows[place]):
            kept.append(place)
    return [rows[place] for place in sorted(kept)]


def _by_subtask(rows: Sequence[Instruction], size: int | None, seed: str, fits: Fits | None) -> list[Instruction]:
    parts: dict[str, list[Instruction]] = {}
    for row in rows:
        parts.setdefault(row.subtask, []).append(row)
    return [row for name, part in parts.items() for row in _sample(part, size, f"{seed}:{name}", fits)]


def _in_equal_parts(rows: list[Instruction], size: int | None, seed: str) -> list[Instruction]:
    """`size` rows, one of each subtask in turn; where that does not come out even, chance says which has one more."""
    if size is None or size >= len(rows):
        return rows
    drawn = random.Random(seed).sample(range(len(rows)), len(rows))
    turn: Counter[str] = Counter()
    turns = []
    for order, place in enumerate(drawn):
        turns.append((turn[rows[place].subtask], order, place))
        turn[rows[place].subtask] += 1
    return [rows[place] for place in sorted(place for _, _, place in sorted(turns)[:size])]
