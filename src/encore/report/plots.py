"""Points with intervals as small SVG figures, one a panel of an environment.

Figures are drawn with matplotlib in plain colours, so that they can be saved as they are; `inline` makes them part of a
page: text stays text, colours become the page's own (light or dark), and identifiers that nothing refers to go.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from html import escape
from typing import TypeGuard

import matplotlib
from matplotlib.figure import Figure

from encore.report import numbers as write
from encore.report.comparison import Comparison, Row
from encore.report.narrative import environment_name

INK, MUTED, LINE, ACCENT = "#1c2430", "#667085", "#d9dee6", "#2456c6"
PAGE_COLORS = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", ACCENT: "var(--accent)"}
WIDTH_IN = 4.4
POINTS_PER_INCH = 72


def panels(comparison: Comparison) -> dict[tuple[str, str, str], list[Row]]:
    """Rows that have a mean, by environment, panel and metric, in the order of the comparison."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in comparison.rows:
        if _known(row.mean):
            found.setdefault((row.environment, row.panel, row.metric), []).append(row)
    return found


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def interval_figure(rows: Sequence[Row], upper: float = 1.0) -> Figure:
    """One line an arm: its mean and interval, a small tick for every seed, the mean in words on the right.

    `upper` is the end of the axis as a fraction of 1, so that panels side by side share a scale.
    """
    figure = Figure(figsize=(WIDTH_IN, 0.62 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for height, row in enumerate(rows):
        if not _known(row.mean):
            continue
        mean = 100 * row.mean
        if _known(row.low) and _known(row.high):
            axes.plot(
                [100 * row.low, 100 * row.high], [height] * 2, color=ACCENT, linewidth=1.6, solid_capstyle="round"
            )
        if len(row.per_seed) > 1:
            seeds = [100 * value for value in row.per_seed if _known(value)]
            axes.plot(seeds, [height] * len(seeds), "|", color=MUTED, markersize=9, markeredgewidth=1.2)
        axes.plot([mean], [height], "o", color=ACCENT, markersize=6, clip_on=False)
        axes.annotate(
            write.percent(row.mean),
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=9,
        )
    axes.set_yticks(range(len(rows)), [row.label for row in rows], color=INK, fontsize=9)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a dollar sign in a name is a dollar sign
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 100 * upper)
    axes.tick_params(axis="x", colors=MUTED, labelsize=8, length=0)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    metric = "episodes won" if rows and rows[0].metric == "success" else "score"
    axes.set_xlabel(f"% {metric}" if metric == "episodes won" else f"{metric}, of 100", color=MUTED, fontsize=8)
    return figure


def shared_upper(rows: Sequence[Row]) -> float:
    """The end of a common axis: the largest interval end rounded up to a tenth, at least 0.2."""
    ends = [end for row in rows for end in (row.mean, row.high) if _known(end)]
    return min(1.0, max(0.2, (int(max(ends, default=0.0) * 10 - 1e-9) + 1) / 10))


def inline(figure: Figure, title: str) -> str:
    """The figure as an <svg> element for a page whose CSS defines --ink, --muted, --line and --accent.

    `title` is what a screen reader says.
    """
    stream = io.StringIO()
    # hashsalt: the same data give the same bytes, and a report in a repository has no needless differences.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "encore"}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=metadata)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    head, body = svg.split(">", 1)
    svg = re.sub(r'\s(?:xmlns(?::\w+)?|version|width|height)="[^"]*"', "", head) + ">" + body
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL).replace("xlink:href", "href")
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
    kept = {name for pair in used for name in pair if name}
    svg = re.sub(r'\sid="([^"]+)"', lambda match: match.group(0) if match.group(1) in kept else "", svg)
    for plain, variable in PAGE_COLORS.items():
        svg = svg.replace(plain, variable)
    width = round(1.5 * figure.get_figwidth() * POINTS_PER_INCH)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}" style="max-width: {width}px"', 1)


def interval_svgs(comparison: Comparison) -> list[tuple[str, str]]:
    """(heading, svg) of every panel; panels of one environment and metric share their axis."""
    found = panels(comparison)
    figures = []
    for (environment, panel, metric), rows in found.items():
        together = [row for key, some in found.items() if (key[0], key[2]) == (environment, metric) for row in some]
        heading = f"{environment_name(environment)} · {panel}" + ("" if metric == "success" else f" · {metric}")
        figure = interval_figure(rows, shared_upper(together))
        figures.append((heading, inline(figure, f"Means and intervals, {heading}")))
    return figures
