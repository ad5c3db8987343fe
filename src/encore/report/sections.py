"""What stands on a page, in order: tables and groups of figures. A paper may bring its own; the default serves any."""

from __future__ import annotations

from dataclasses import dataclass

from encore.report import plots, tables
from encore.report.cells import Table
from encore.report.comparison import Comparison

DOTS = "A dot is the mean over seeds, the line its 95 % interval, a tick one training seed."


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures side by side: (heading, svg) pairs, with a title above and a note below."""

    id: str
    title: str
    items: list[tuple[str, str]]
    lead: str = ""
    note: str = ""

    def __bool__(self) -> bool:
        return bool(self.items)


Section = Table | Figures


def default(comparison: Comparison) -> list[Section]:
    """Every table that has a row, with the means and intervals as figures after the first."""
    made: list[Section] = list(tables.all_tables(comparison))
    figures = Figures("figure", "Means and intervals", plots.interval_svgs(comparison), note=DOTS)
    return [*made[:1], *([figures] if figures else []), *made[1:]]


def tables_of(sections: list[Section]) -> list[Table]:
    """The tables among them."""
    return [section for section in sections if isinstance(section, Table)]
