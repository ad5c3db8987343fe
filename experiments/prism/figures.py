"""Figures of the comparison as SVG in the page's colours: gradient mass by layer and matrix, Figure 3, Figure 4."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from encore.report.comparison import Comparison, Profile, Row
from encore.report.narrative import environment_name
from encore.report.plots import ACCENT, INK, LINE, MUTED, inline
from experiments.prism.tables import FRACTIONS, LABELS, SWEPT, swept_arm

MATRIX = re.compile(r"(?:^|\.)(\d+)\.(?:.*\.)?([a-z]+)(?:_proj)?$")


def gradient_mass(profiles: Sequence[Profile]) -> list[tuple[str, str]]:
    """(heading, svg) of each profile: the share of each matrix, a row a layer, for the lowest and the highest tenth."""
    made = []
    for found in profiles:
        heading = f"{environment_name(found.environment)} · {found.score}"
        made.append((heading, inline(_mass(found), f"Gradient mass by layer and matrix, {heading}")))
    return made


def metrics(comparison: Comparison) -> list[tuple[str, str]]:
    """Figure 3: PRISM, its inverse and Random by metric, one figure a panel on which an inverse arm was run."""
    made = []
    for where, rows in _panels(comparison).items():
        if not any(row.method.startswith("inverse_") for row in rows.values()):
            continue
        made.append((_heading(*where), inline(_metrics(rows), f"PRISM, Inverse and Random, {_heading(*where)}")))
    return made


def ratios(comparison: Comparison) -> list[tuple[str, str]]:
    """Figure 4: success against the share of data for RL, of panels on which an arm of the sweep was run."""
    made = []
    for where, rows in _panels(comparison).items():
        if where[2] != "success" or not any(re.search(r"_rl\d+$", method) for method in rows):
            continue
        made.append((_heading(*where), inline(_ratios(rows), f"Success by share to RL, {_heading(*where)}")))
    return made


def _mass(found: Profile) -> Figure:
    places = [match.groups() if (match := MATRIX.search(name)) else ("0", name) for name in found.matrices]
    layers = sorted({int(layer) for layer, _ in places})
    kinds = list(dict.fromkeys(kind for _, kind in places))
    top = max([*found.low, *found.high])
    figure = Figure(figsize=(5.6, 1.0 + 0.17 * max(len(layers), 4)), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    for axes, title, values in zip(both, ("lowest tenth", "highest tenth"), (found.low, found.high), strict=True):
        for (layer, kind), value in zip(places, values, strict=True):
            corner = (kinds.index(kind) - 0.5, layers.index(int(layer)) - 0.5)
            axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=ACCENT, alpha=value / top, linewidth=0))
        axes.set_xlim(-0.6, len(kinds) - 0.4)
        axes.set_ylim(len(layers) - 0.5, -0.6)
        axes.set_xticks(range(len(kinds)), kinds, color=MUTED, fontsize=8)
        step = max(1, len(layers) // 8)
        axes.set_yticks(range(0, len(layers), step), [str(layers[i]) for i in range(0, len(layers), step)])
        peak = max(values)
        axes.set_title(f"{title}, largest {100 * peak:.1f} %", color=INK, fontsize=9)
        _plain(axes)
    both[0].set_ylabel("layer", color=MUTED, fontsize=8)
    return figure


def _metrics(rows: dict[str, Row]) -> Figure:
    figure = Figure(figsize=(4.4, 2.6), layout="constrained")
    axes = figure.subplots()
    shown = [("PRISM", "prism_", "o", ACCENT, -0.12), ("Inverse", "inverse_", "s", MUTED, 0.12)]
    for label, prefix, marker, color, shift in shown:
        points = [(i + shift, rows[prefix + name]) for i, name in enumerate(LABELS) if prefix + name in rows]
        _points(axes, points, marker, color, label)
    random = rows.get("random")
    if random is not None and random.mean is not None:
        axes.axhline(100 * random.mean, color=INK, linewidth=1.2, linestyle="--", label="Random")
    axes.set_xticks(range(len(LABELS)), list(LABELS.values()), color=INK, fontsize=9)
    axes.set_xlim(-0.5, len(LABELS) - 0.5)
    _finish(axes, next(iter(rows.values())).metric)
    return figure


def _ratios(rows: dict[str, Row]) -> Figure:
    figure = Figure(figsize=(4.4, 2.8), layout="constrained")
    axes = figure.subplots()
    styles = {"cv": ("o", ACCENT, -0.8), "gini": ("s", MUTED, 0.8)}
    for metric in SWEPT:
        marker, color, shift = styles[metric]
        found = [(100 * f + shift, rows[swept_arm(metric, f)]) for f in FRACTIONS if swept_arm(metric, f) in rows]
        known = [(x, row) for x, row in found if row.mean is not None]
        axes.plot([x for x, _ in known], [100 * (row.mean or 0) for _, row in known], color=color, linewidth=1.2)
        _points(axes, known, marker, color, LABELS[metric])
    axes.set_xticks([round(100 * fraction) for fraction in FRACTIONS])
    axes.set_xlabel("% of the data to RL (0: SFT, 100: GRPO)", color=MUTED, fontsize=8)
    _finish(axes, "success")
    return figure


def _points(axes: Axes, points: Sequence[tuple[float, Row]], marker: str, color: str, label: str) -> None:
    known = [(x, row) for x, row in points if row.mean is not None]
    for x, row in known:
        if row.low is not None and row.high is not None:
            axes.plot([x, x], [100 * row.low, 100 * row.high], color=color, linewidth=1.2, alpha=0.7)
    means = [100 * row.mean for _, row in known if row.mean is not None]
    axes.plot([x for x, _ in known], means, marker, color=color, markersize=5.5, label=label)


def _finish(axes: Axes, metric: str) -> None:
    axes.set_ylim(bottom=0)
    axes.set_ylabel("% episodes won" if metric == "success" else "score, of 100", color=MUTED, fontsize=8)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    legend = axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=3)
    for text in legend.get_texts():
        text.set_color(INK)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.tick_params(length=0, labelsize=8, colors=MUTED)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)


def _panels(comparison: Comparison) -> dict[tuple[str, str, str], dict[str, Row]]:
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in comparison.rows:
        if row.mean is not None and np.isfinite(row.mean):
            found.setdefault((row.environment, row.panel, row.metric), {})[row.method] = row
    return found


def _heading(environment: str, panel: str, metric: str) -> str:
    return f"{environment_name(environment)} · {panel}" + ("" if metric == "success" else f" · {metric}")
