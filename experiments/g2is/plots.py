"""Score against the share of the pool that is trained on: one figure a target, exact match and loss."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from encore.report.plots import INK, MUTED
from encore.statistics import mean_interval
from experiments.g2is.collect import Collected

WIDTH_HEIGHT = (5.6, 4.2)  # inches; half the page
STRONG = ("random", "less", "g2is")  # of whom the paper's claims are


def data_efficiency(found: Collected, target: str) -> Figure:
    """Every arm that was trained at more than one fraction; the base and all data are levels.

    A band is the standard error over test examples, each averaged over seeds.
    """
    g2is = found.g2is
    figure = Figure(figsize=WIDTH_HEIGHT, layout="constrained")
    axes = figure.subplots(1, 2)
    fractions = sorted({*g2is.fractions, *g2is.curve})
    for place, method in enumerate(g2is.methods):
        arms = [(fraction, arm) for fraction in fractions if (arm := found.find(method, target, fraction)) is not None]
        if not arms:
            continue
        for axis, metric, scale in zip(axes, ("exact", "loss"), (100, -1), strict=True):
            if g2is.plugin(method) in (None, "full"):
                level = scale * float(arms[0][1].scores[metric].mean())
                style = "--" if method == "full" else ":"
                axis.axhline(level, color=INK, linestyle=style, linewidth=1, label=g2is.label(method))
                continue
            found_at = [mean_interval(arm.scores[metric].mean(axis=0)) for _, arm in arms]
            mean = scale * np.array([one.mean for one in found_at])
            error = np.array([abs(scale) * one.sem for one in found_at])
            at = [100 * fraction for fraction, _ in arms]
            strong = method in (*g2is.curve_methods, *STRONG)
            drawn = axis.plot(
                at,
                mean,
                marker="o",
                markersize=3,
                linewidth=1.8 if strong else 0.8,
                alpha=1 if strong else 0.55,
                color=f"C{place % 10}",
                linestyle="-" if place < 10 else "-.",
                label=g2is.label(method),
            )
            if strong:
                axis.fill_between(at, mean - error, mean + error, color=drawn[0].get_color(), alpha=0.15, linewidth=0)
    for axis, name in zip(axes, ("exact match, %", "loss, nats"), strict=True):
        axis.set_xscale("log")
        axis.set_xticks([100 * fraction for fraction in fractions], [f"{100 * one:g}" for one in fractions])
        axis.minorticks_off()
        if name.startswith("exact"):
            axis.set_ylim(bottom=0, top=max(1.0, axis.get_ylim()[1]))  # where none is right, no scale of thousandths
        axis.set_xlabel("share of the pool, %", fontsize=8, color=MUTED)
        axis.set_title(f"{target}: {name}", fontsize=9, color=INK)
        axis.tick_params(labelsize=8, colors=MUTED)
        axis.spines[:].set_color(MUTED)
    # Below: beside the axes it takes the width that the page gives to two figures, and can no longer be read.
    lines, labels = axes[1].get_legend_handles_labels()
    figure.legend(lines, labels, fontsize=7, loc="outside lower center", ncols=3, labelcolor=INK, framealpha=0)
    return figure
