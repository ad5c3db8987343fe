"""A comparison as Markdown, for results/<profile>/ and pull requests."""

from __future__ import annotations

from collections.abc import Sequence

from encore.report import narrative, tables
from encore.report.comparison import Comparison


def render(comparison: Comparison, shown: Sequence[tables.Table] | None = None) -> str:
    """The whole report as GitHub-flavoured Markdown; text is escaped so that it cannot become markup.

    `shown` None: the default tables of any comparison.
    """
    meta = comparison.meta
    parts = [f"# {_escape(meta.title)}", _escape(narrative.what_was_run(comparison))]
    parts += [f"**{_escape(narrative.verdict(comparison))}**", _escape(narrative.caveat(comparison))]
    chosen = tables.all_tables(comparison) if shown is None else shown
    parts += [_table(table) for table in chosen if table]
    for heading, sentences in (
        ("How verdicts are reached", meta.rule),
        ("What to know about the numbers", meta.warnings),
        ("Notes", meta.notes),
    ):
        if sentences:
            parts.append(f"## {heading}\n\n" + "\n".join(f"- {_escape(text)}" for text in sentences))
    facts = {"Commit": meta.git_commit, "Command": meta.command, "Machine": meta.machine, "Date": meta.date}
    versions = ", ".join(f"{name} {version}" for name, version in meta.versions.items())
    lines = [f"- {name}: {_escape(value)}" for name, value in {**facts, "Versions": versions}.items() if value]
    parts.append("## Provenance\n\n" + "\n".join(lines))
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: tables.Table) -> str:
    lines = [f"## {_escape(table.title)}", ""]
    if table.lead:
        lines += [_escape(table.lead), ""]
    for group in table.groups:
        if group.heading:
            lines += [f"### {_escape(group.heading)}", ""]
        lines.append("| " + " | ".join(_escape(column.name) for column in table.columns) + " |")
        lines.append("|" + "|".join("--:" if column.numeric else ":--" for column in table.columns) + "|")
        for row in group.rows:
            lines.append("| " + " | ".join(_cell(cell) for cell in row) + " |")
        lines.append("")
    lines += [f"{_escape(note)}\n" for note in table.notes]
    return "\n".join(lines).rstrip()


def _cell(cell: tables.Cell) -> str:
    return _escape(cell.text) + (f" ({_escape(cell.detail)})" if cell.detail else "")


def _escape(text: str) -> str:
    for character in "\\`*_[]<>|#":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
