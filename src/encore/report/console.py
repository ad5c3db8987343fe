"""A comparison for the terminal: at most `width` columns of plain text."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from encore.report import narrative, tables
from encore.report.comparison import Comparison

STYLES = {"good": "green", "partly": "yellow", "bad": "red", "muted": "dim", "strong": "bold"}
WIDTH = 120


def render(
    comparison: Comparison,
    width: int = WIDTH,
    *,
    color: bool = False,
    shown: Sequence[tables.Table] | None = None,
) -> str:
    """The headline, results, claims, costs and tests as text whose lines are no longer than `width` characters.

    `shown` are other tables instead. `color` adds terminal colours. Details that only a page has room for (task types,
    diagnosis) are left to the others.
    """
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=color, no_color=not color, highlight=False, legacy_windows=False
    )
    meta = comparison.meta
    console.print(Text(f"{meta.title}\n{narrative.what_was_run(comparison)}\n"))
    makers = (tables.results, tables.claims, tables.cost_claims, tables.costs, tables.tests)
    for table in [make(comparison) for make in makers] if shown is None else shown:
        if table:
            _print(console, table)
    console.print(Text(narrative.verdict(comparison)))
    console.print(Text(narrative.caveat(comparison)))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _print(console: Console, table: tables.Table) -> None:
    kept = [index for index, column in enumerate(table.columns) if column.brief]
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(table.title), title_justify="left", title_style="bold")
    for index in kept:
        column = table.columns[index]
        grid.add_column(
            Text(column.name), justify="right" if column.numeric else "left", ratio=2 if column.wide else None
        )
    for group in table.groups:
        if group.heading:
            grid.add_row(Text(group.heading, style="bold"), *("" for _ in kept[1:]))
        for row in group.rows:
            grid.add_row(*(Text(row[index].text, style=STYLES.get(row[index].tone, "")) for index in kept))
    console.print(grid)
    for note in (table.lead if table.id == "results" else "", *table.notes):
        if note:
            console.print(Text(f"  {note}", style="dim"))
    console.print()
