"""A comparison made of tables and figures, as a page, as Markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from encore.report import page
from encore.report.comparison import Meta
from encore.report.tables import Cell, Table
from encore.tracking.files import write_text

WIDEST = 34  # characters of a cell in a terminal


@dataclass(frozen=True)
class Report:
    """All that is shown, in order. `figures` are (heading, SVG), in a section of their own."""

    meta: Meta
    run: str
    verdict: str
    caveat: str
    tables: list[Table]
    figures: list[tuple[str, str]] = field(default_factory=list)
    figures_title: str = "Figures"
    figures_note: str = ""


def html(report: Report) -> str:
    """The page as text, by the template of `encore.report`; the figures stand behind the first table."""
    text = page.fill(
        report.meta,
        run=report.run,
        verdict=report.verdict,
        caveat=report.caveat,
        results=report.tables[0],
        tables=[table for table in report.tables[1:] if table],
        figures=[],  # that section speaks of episodes
        how_to_add=report.meta.how_to_add,
    )
    place = f'<section id="{report.tables[1].id}">'
    before, found, after = text.partition(place)
    if not found:
        raise AssertionError(f"the template of encore.report has no {place}")
    return before + _figures(report) + found + after


def _figures(report: Report) -> str:
    shown = [f"<figure><figcaption>{escape(heading)}</figcaption>{svg}</figure>" for heading, svg in report.figures]
    if not shown:
        return ""
    note = f'<p class="note">{escape(report.figures_note)}</p>\n' if report.figures_note else ""
    return (
        f'<section id="figures">\n<h2>{escape(report.figures_title)}</h2>\n<div class="figures">\n'
        + "\n".join(shown)
        + f"\n</div>\n{note}</section>\n"
    )


def save(report: Report, path: Path) -> Path:
    """Writes the page in one step."""
    return write_text(path, html(report))


def markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    meta = report.meta
    parts = [f"# {_escape(meta.title)}", _escape(report.run), f"**{_escape(report.verdict)}**", _escape(report.caveat)]
    for table in report.tables:
        if table:
            parts += [f"## {_escape(table.title)}", _escape(table.lead)]
            for group in table.groups:
                parts += [f"### {_escape(group.heading)}" if group.heading else "", _grid(table, group.rows)]
            parts += [_escape(note) for note in table.notes]
    for heading, lines in (("What to know about the numbers", meta.warnings), ("Notes", meta.notes)):
        parts.append(f"## {heading}\n\n" + "\n".join(f"- {_escape(line)}" for line in lines))
    versions = ", ".join(f"{name} {version}" for name, version in meta.versions.items())
    facts = {"Commit": meta.git_commit, "Command": meta.command, "Machine": meta.machine, "Date": meta.date}
    lines = [f"- {name}: {_escape(value)}" for name, value in {**facts, "Versions": versions}.items() if value]
    parts.append("## Provenance\n\n" + "\n".join(lines))
    return "\n\n".join(part for part in parts if part) + "\n"


def console(report: Report, names: Sequence[str] = ("results", "claims", "costs")) -> str:
    """The verdict and the tables `names` as text with aligned columns."""
    parts = [report.meta.title, report.run]
    for table in (table for table in report.tables if table.id in names and table):
        kept = [place for place, column in enumerate(table.columns) if column.brief]
        shown = [
            (group.heading, [[_short(row[place]) for place in kept] for row in group.rows]) for group in table.groups
        ]
        heads = [_clip(table.columns[place].name) for place in kept]
        every = [heads, *(row for _, rows in shown for row in rows)]
        widths = [max(len(row[place]) for row in every) for place in range(len(kept))]
        parts += [f"\n{table.title}", _line(heads, widths), "-" * (sum(widths) + 2 * len(widths) - 2)]
        for heading, rows in shown:
            parts += ([heading] if heading else []) + [_line(row, widths) for row in rows]
        parts += table.notes
    return "\n".join([*parts, "", report.verdict, report.caveat]) + "\n"


def _grid(table: Table, rows: list[list[Cell]]) -> str:
    lines = ["| " + " | ".join(_escape(column.name) for column in table.columns) + " |"]
    lines.append("|" + "|".join("--:" if column.numeric else ":--" for column in table.columns) + "|")
    for row in rows:
        cells = [_escape(cell.text) + (f" ({_escape(cell.detail)})" if cell.detail else "") for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _escape(text: str) -> str:
    for character in "\\`*_[]<>|#":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


def _short(cell: Cell) -> str:
    return _clip(cell.text)


def _clip(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _line(cells: list[str], widths: list[int]) -> str:
    padded = [cells[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join(padded).rstrip()
