"""The walk of G2IS for one target, pick by pick, as a table: why each example was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from encore.report import numbers as write
from encore.report.tables import Cell, Column, Group, Table

SHOWN = 60  # characters of a question


def walk_table(target: str, fraction: float, picks: Sequence[Mapping[str, Any]], questions: Sequence[str]) -> Table:
    """The `picks` of one selection in order, by component; `questions` are those of the pool, by place."""
    groups: dict[int, list[list[Cell]]] = {}
    for number, pick in enumerate(picks, start=1):
        reached = "from the component" if pick["reached_from"] is None else f"from {pick['reached_from_id']}"
        before, after = (_number(pick[f"{when}_consistency"]) for when in ("old", "new"))
        groups.setdefault(pick["component"], []).append(
            [
                Cell(str(number)),
                Cell(pick["id"], shortened(questions[pick["index"]])),
                Cell(pick["via"], reached),
                Cell(_number(pick["affinity"])),
                Cell(_number(pick["similarity"])),
                Cell(_number(pick["smallest_similarity"])),
                Cell(after if pick["old_consistency"] is None else f"{before} → {after}"),
            ]
        )
    columns = [
        Column("Pick"),
        Column("Example", numeric=False, wide=True),
        Column("How", numeric=False),
        Column("cosine with the component"),
        Column("with the one before"),
        Column("least with any chosen"),
        Column("consistency"),
    ]
    lead = (
        f"G2IS for {target} at {100 * fraction:g} % of the pool, first seed. The least cosine with any example already "
        "chosen for the component must not be negative (constraint 5), and the cosine of their sum with the component, "
        "the consistency, must stay at least delta of what it was (constraint 6)."
    )
    listed = [Group(f"component {component + 1}", rows) for component, rows in groups.items()]
    return Table("walk", "A walk", columns, listed, lead=lead)


def shortened(text: str) -> str:
    """The text on one line, cut at `SHOWN` characters."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def _number(value: float | None) -> str:
    return write.DASH if value is None else f"{value:.2f}".replace("-", write.MINUS)
