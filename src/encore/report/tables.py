"""The tables of a report as plain cells, made once and rendered by console, Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Sequence

from encore.report import numbers as write
from encore.report.cells import (
    Cell,
    Column,
    Group,
    Table,
    places,
    short,
    verdict_cell,
)
from encore.report.claim_tables import claims, cost_claims, tests
from encore.report.comparison import Comparison, Row
from encore.report.cost_table import costs, reference_label, reference_time
from encore.report.diagnosis_tables import agreements, correlations, shares

__all__ = [
    "Cell",
    "Column",
    "Group",
    "Table",
    "agreements",
    "all_tables",
    "by_type",
    "claims",
    "correlations",
    "cost_claims",
    "costs",
    "results",
    "shares",
    "tests",
    "value_cells",
    "value_columns",
]


def value_columns(backbones: Sequence[str] = ()) -> list[Column]:
    """Columns of `value_cells`; `backbones` are the paper's other models, one more column each."""
    return [
        Column("Reported, %"),
        *(Column(f"Reported, {name}") for name in backbones),
        Column("Reproduced, %"),
        Column("95 % interval"),
        Column("Seeds"),
        Column("Verdict", numeric=False),
        Column("by seed", brief=False),
    ]


def value_cells(row: Row, backbones: Sequence[str] = ()) -> list[Cell]:
    """What the paper reports, what was reproduced (mean, 95 % interval, number of seeds), and the verdict."""
    return [
        Cell(write.reported(row.reported), tone="" if row.reported else "muted"),
        *(Cell(write.reported(row.other_reported.get(name)), tone="muted") for name in backbones),
        Cell(write.percent(row.mean), tone="strong"),
        Cell(write.span(row.low, row.high) or write.DASH),
        Cell(str(len(row.seeds)) if row.seeds else write.DASH),
        verdict_cell(row.verdict),
        Cell(", ".join(write.percent(value) for value in row.per_seed) or write.DASH, tone="muted"),
    ]


def notes(rows: Sequence[Row]) -> list[str]:
    """Why numbers lack, what intervals are over, and which arms did not run, each once."""
    reasons = list(dict.fromkeys(row.reported_reason for row in rows if row.reported_reason))
    said = [f"Reported {write.DASH}: {reason}." for reason in reasons]
    said += [f"Interval: {kind}." for kind in dict.fromkeys(row.interval for row in rows) if kind]
    by_reason: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.skipped:
            by_reason.setdefault(row.skipped, {})[row.label] = None
    for reason, arms in by_reason.items():
        said.append(f"{', '.join(arms)} {'was' if len(arms) == 1 else 'were'} not run: {reason}.")
    return said


def results(comparison: Comparison) -> Table:
    """The main table: the paper's score, the one here with its interval, the verdict, and the time it took."""
    times = {(cost.environment, cost.method): cost.training_s or cost.total_s for cost in comparison.costs}
    groups = []
    for heading, rows in places(comparison).items():
        reference = reference_time({row.method: times.get((row.environment, row.method)) for row in rows})
        cells = []
        for row in rows:
            time = times.get((row.environment, row.method))
            cells.append(
                [
                    Cell(row.label, row.method if row.method != row.label else ""),
                    *value_cells(row),
                    Cell(row.reported.source if row.reported else write.DASH, tone="muted"),
                    Cell(f"{row.wins:g} / {row.episodes}" if row.episodes else write.DASH),
                    Cell(write.duration(time)),
                    Cell(write.ratio(time, reference)),
                ]
            )
        groups.append(Group(heading, cells))
    return Table(
        "results",
        "Results",
        [
            Column("Arm", numeric=False),
            *value_columns(),
            Column("Source", numeric=False, brief=False),
            Column("won / episodes", brief=False),
            Column("Time here"),
            Column(f"× {reference_label(comparison)}"),
        ],
        groups,
        lead=scales(comparison),
        notes=notes(comparison.rows),
    )


def by_type(comparison: Comparison) -> Table:
    """Success by task type, and the paper's cells in rows of their own."""
    types = list(dict.fromkeys(name for row in comparison.rows for name in row.by_type))
    groups = []
    for heading, rows in places(comparison).items():
        lines = []
        for row in rows:
            if not row.by_type:
                continue
            lines.append([Cell(row.label), *(type_cell(row, name) for name in types)])
            theirs = [found.reported if (found := row.by_type.get(name)) else None for name in types]
            if any(theirs):
                cells = [Cell(write.reported(value), tone="muted") for value in theirs]
                lines.append([Cell(f"{row.label}, paper", tone="muted"), *cells])
        groups.append(Group(heading, lines))
    columns = [Column("Arm", numeric=False), *(Column(short(name)) for name in types)]
    lead = "Percent of episodes won, with won / episodes over all seeds and the interval below."
    return Table("types", "By task type", columns, [group for group in groups if group.rows], lead=lead)


def all_tables(comparison: Comparison) -> list[Table]:
    """Every table that has a row, in the order of a report."""
    makers = (results, claims, cost_claims, by_type, costs, tests, correlations, agreements, shares)
    return [table for maker in makers if (table := maker(comparison))]


def type_cell(row: Row, name: str) -> Cell:
    """Success on one task type, with counts and interval as its detail."""
    found = row.by_type.get(name)
    if found is None or found.episodes == 0:
        return Cell(write.DASH)
    detail = f"{found.wins:g} / {found.episodes}"
    span = write.span(found.low, found.high)
    return Cell(write.percent(found.wins / found.episodes), f"{detail}; {span}" if span else detail)


def scales(comparison: Comparison) -> str:
    """What was trained here and in the paper, and whether the two columns may be compared."""
    meta = comparison.meta
    paper = (meta.reported_scale or meta.reported_backbone).rstrip(".")
    text = f"Here: {meta.backbone}, profile {meta.profile}. Paper: {paper}."
    return text if meta.same_scale else text + " The two columns are not on one scale; nothing is subtracted."
