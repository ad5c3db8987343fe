"""From rows as they were read to a pool or a target: what is drawn, with which seed, and what the card says of it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from encore.data.cards import DataCard
from encore.data.instructions import Instruction
from encore.data.registry_types import Pool, Target
from encore.data.settings import DataSettings

Raw = tuple[str, str, str, str]
"""Prompt, response, family, subtask."""


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


def draw_pool(name: str, part: Part, settings: DataSettings) -> Pool:
    """At most `settings.pool_size` rows, in their own order."""
    rows = _sample(part.rows, settings.pool_size, f"{settings.seed}:{name}")
    return Pool(name, rows, DataCard.of(name, "pool", rows, **part.about))


def draw_target(name: str, domain: str, tested: Part, shots: Part | None, settings: DataSettings) -> Target:
    """`settings.shots` validation rows a subtask of `shots`, at most `settings.evaluation` test rows a subtask.

    Without `shots` these too are drawn from the rows that are tested on. No validation question is tested on.
    """
    source = shots or tested
    shown = _by_subtask(source.rows, settings.shots, f"{settings.seed}:{name}:shots")
    asked = {row.question for row in shown}
    rest = [row for row in tested.rows if row.question not in asked]
    rest = _by_subtask(rest, settings.evaluation, f"{settings.seed}:{name}:evaluation")
    about = source.about
    if shots is None:
        drawn = "drawn from the test rows, which lose them: a passage may serve another question of the test"
        about = about | {"notes": _join(about["notes"], drawn)}
    cards = [
        DataCard.of(name, "validation", shown, **about),
        DataCard.of(name, "evaluation", rest, **tested.about),
    ]
    return Target(name, domain, shown, rest, cards)


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _sample(rows: list[Instruction], size: int | None, seed: str) -> list[Instruction]:
    if size is None or size >= len(rows):
        return rows
    places = sorted(random.Random(seed).sample(range(len(rows)), size))
    return [rows[place] for place in places]


def _by_subtask(rows: Sequence[Instruction], size: int | None, seed: str) -> list[Instruction]:
    parts: dict[str, list[Instruction]] = {}
    for row in rows:
        parts.setdefault(row.subtask, []).append(row)
    return [row for name, part in parts.items() for row in _sample(part, size, f"{seed}:{name}")]
