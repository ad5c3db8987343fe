"""What every table of a report is made of: cells, columns, groups of rows; and what several tables say alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from encore.report import numbers as write
from encore.report.comparison import Comparison, Row
from encore.report.narrative import environment_name
from encore.report.verdict import DIRECTION, NOT_REPRODUCED, NOT_RUN, OTHER_SCALE, REPRODUCED

TONES = {REPRODUCED: "good", NOT_REPRODUCED: "bad", DIRECTION: "partly", NOT_RUN: "muted", OTHER_SCALE: "muted"}


@dataclass(frozen=True, slots=True)
class Cell:
    """`detail` is secondary and may be left out; `bar` is a share of 1 to draw; `tone`: good, partly, bad, muted."""

    text: str
    detail: str = ""
    tone: str = ""
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """`numeric` columns align right; `wide` ones hold sentences; `brief` False leaves a column out in a terminal."""

    name: str
    numeric: bool = True
    wide: bool = False
    brief: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Rows under one heading, e.g. one panel of one environment."""

    heading: str
    rows: list[list[Cell]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with what has to be said about it."""

    id: str
    title: str
    columns: list[Column]
    groups: list[Group]
    lead: str = ""
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(group.rows for group in self.groups)


def places(comparison: Comparison) -> dict[str, list[Row]]:
    """Rows by panel, under the heading of the panel."""
    found: dict[str, list[Row]] = {}
    for row in comparison.rows:
        found.setdefault(place(row.environment, row.panel, row.metric), []).append(row)
    return found


def place(environment: str, panel: str, metric: str) -> str:
    """The heading of a panel: "ALFWorld · seen"."""
    suffix = "" if metric == "success" else f" · {metric}"
    return f"{environment_name(environment)} · {panel}{suffix}"


def groups(rows: dict[str, list[list[Cell]]]) -> list[Group]:
    """Rows by heading as groups."""
    return [Group(heading, cells) for heading, cells in rows.items()]


def without_empty_columns(table: Table) -> Table:
    """Quantities that no arm measured are no columns."""
    rows = [row for group in table.groups for row in group.rows]
    kept = [i for i in range(len(table.columns)) if any(row[i].text != write.DASH for row in rows)]
    groups = [Group(group.heading, [[row[i] for i in kept] for row in group.rows]) for group in table.groups]
    return replace(table, columns=[table.columns[i] for i in kept], groups=groups)


def labels(comparison: Comparison) -> dict[str, str]:
    """Arms' names in tables by their ids."""
    return {cost.method: cost.label for cost in comparison.costs} | {row.method: row.label for row in comparison.rows}


def short(task_type: str) -> str:
    """pick_clean_then_place_in_recep -> clean; other names keep their words."""
    names = {"pick_and_place_simple": "pick", "look_at_obj_in_light": "look", "pick_two_obj_and_place": "pick two"}
    if task_type in names:
        return names[task_type]
    if task_type.startswith("pick_") and task_type.endswith("_then_place_in_recep"):
        return task_type.removeprefix("pick_").removesuffix("_then_place_in_recep")
    return task_type.replace("_", " ")


def verdict_cell(verdict: str) -> Cell:
    """A verdict in its colour; a dash where none was reached."""
    return Cell(verdict or write.DASH, tone=TONES.get(verdict, "muted"))
