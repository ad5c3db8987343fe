"""A comparison as one static HTML file: no scripts, nothing loaded from anywhere, readable in light and dark.

Every value is escaped. Only the figures are put in as markup, and they are made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from encore.report import narrative, page, sections
from encore.report.cells import Table
from encore.report.comparison import Comparison
from encore.tracking.files import write_text

HOW_TO_ADD = "one file with one class in the folder of the arms and its name in params.yaml, then dvc repro."


def render(comparison: Comparison, layout: Sequence[sections.Section] | None = None) -> str:
    """The page as text; `layout` None: the default sections of any comparison."""
    shown = sections.default(comparison) if layout is None else [section for section in layout if section]
    return page.fill(
        comparison.meta,
        run=narrative.what_was_run(comparison),
        verdict=narrative.verdict(comparison),
        caveat=narrative.caveat(comparison),
        sections=[
            {"table": section}
            if isinstance(section, Table)
            else {"figures": section, "svgs": [(heading, Markup(svg)) for heading, svg in section.items]}
            for section in shown
        ],
        how_to_add=comparison.meta.how_to_add or HOW_TO_ADD,
    )


def save(comparison: Comparison, path: Path | str, layout: Sequence[sections.Section] | None = None) -> Path:
    """Writes the page to `path` in one step and returns the path."""
    return write_text(Path(path), render(comparison, layout))
