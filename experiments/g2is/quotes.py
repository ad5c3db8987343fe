"""A report without words of its data: files and the hub are other people's, and comparisons are passed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from encore.report import numbers as write
from encore.report.cells import Cell, Group, Table

NOTE = "Words of the data are on the page alone (report/g2is.html), not in the files that an export copies."
QUOTING = {"walk": "Example", "overlap": "for example"}
"""Tables that quote the data, and their column that does."""


def without_quotes(tables: Sequence[Table]) -> list[Table]:
    """The same tables: a walk names its examples by id alone, and the overlap has no words in common."""
    return [_plain(table) if table.id in QUOTING else table for table in tables]


def without_words(overlaps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same overlaps; of an example the places in test and pool stay."""
    return [{**one, "examples": [list(example[:2]) for example in one["examples"]]} for one in overlaps]


def _plain(table: Table) -> Table:
    place = [column.name for column in table.columns].index(QUOTING[table.id])
    groups = []
    for group in table.groups:
        rows = [[*row[:place], _bare(table, row[place]), *row[place + 1 :]] for row in group.rows]
        groups.append(Group(group.heading, rows))
    return replace(table, groups=groups, notes=[*table.notes, NOTE])


def _bare(table: Table, cell: Cell) -> Cell:
    return Cell(cell.text if table.id == "walk" else write.DASH)
