"""Figure 3: how the Conductor's weights move, by benchmark, as curves and as a heat map; entropy and temperature."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from encore.report.plots import INK, LINE, MUTED
from experiments.maestro.collect import CURVES, Collected, Result


def trajectories(found: Collected, method: str = "ours") -> Figure | None:
    """The mean weight of each reward over the steps, one panel a benchmark: a line a reward, faint lines its seeds."""
    shown = _shown(found, method)
    if not shown:
        return None
    figure = Figure(figsize=(4.0 * len(shown), 2.9), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, (title, result) in zip(panels, shown, strict=True):
        names = result.weights[0][0]
        histories = np.stack([history for _, history in result.weights])  # seeds, steps, K
        steps = np.arange(1, histories.shape[1] + 1)
        for place, name in enumerate(names):
            colour = f"C{place}"
            for seed in histories:
                axes.plot(steps, seed[:, place], color=colour, alpha=0.4, linewidth=0.8)
            axes.plot(steps, histories[:, :, place].mean(axis=0), color=colour, linewidth=1.8, label=name)
        axes.axhline(1 / len(names), color=LINE, linewidth=0.8, linestyle=":")
        axes.set_title(title, fontsize=9, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step of the policy", fontsize=8, color=MUTED)
        axes.set_ylim(0, 1)
        axes.tick_params(labelsize=8, colors=MUTED)
        axes.spines[:].set_color(MUTED)
    panels[0].set_ylabel("weight", fontsize=8, color=MUTED)
    panels[-1].legend(fontsize=7, framealpha=0, labelcolor=INK)
    return figure


def heat_map(found: Collected) -> Figure | None:
    """Weights at the end of the training: a row for each benchmark and arm with a Conductor, a column a reward."""
    rows, labels, names = [], [], []
    for one in found.maestro.arms():
        if not one.conductor:
            continue
        for title, result in _shown(found, one.name):
            names = result.weights[0][0]
            last = [history[-max(1, round(len(history) / 4)) :].mean(axis=0) for _, history in result.weights]
            rows.append(np.mean(last, axis=0))
            labels.append(f"{title}, {one.label}")
    if not rows:
        return None
    values = np.stack(rows)
    figure = Figure(figsize=(2.4 + 0.9 * len(names), 0.9 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        axes.text(
            column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if value > 0.6 else INK
        )
    axes.set_xticks(range(len(names)), names, fontsize=8, color=INK)
    axes.set_yticks(range(len(labels)), labels, fontsize=8, color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def inner_life(found: Collected, method: str = "ours") -> Figure | None:
    """Entropy and temperature of the Conductor and entropy of the policy over the steps: a panel each, a line for each
    benchmark (the mean over seeds), faint lines its seeds."""
    shown = _shown(found, method)
    if not shown or any(not one.curves for _, one in shown):
        return None
    figure = Figure(figsize=(9.6, 2.9), layout="constrained")
    panels = figure.subplots(1, len(CURVES))
    heads = ("Conductor's entropy, nats", "Conductor's temperature", "policy's entropy, nats")
    for axes, name, head in zip(panels, CURVES, heads, strict=True):
        for place, (title, result) in enumerate(shown):
            colour = f"C{place}"
            by_seed = [curves[name] for curves in result.curves]
            for values in by_seed:
                axes.plot(np.arange(1, len(values) + 1), values, color=colour, alpha=0.4, linewidth=0.8)
            mean = np.mean(by_seed, axis=0)
            axes.plot(np.arange(1, len(mean) + 1), mean, color=colour, linewidth=1.8, label=title)
        if name == "conductor/entropy":
            most = np.log(len(shown[0][1].weights[0][0]))
            axes.axhline(most, color=LINE, linewidth=0.8, linestyle=":")
            axes.set_ylim(0, 1.08 * most)
        axes.set_title(head, fontsize=9, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step of the policy", fontsize=8, color=MUTED)
        axes.tick_params(labelsize=8, colors=MUTED)
        axes.spines[:].set_color(MUTED)
    panels[0].legend(fontsize=7, framealpha=0, labelcolor=INK, loc="lower left")
    return figure


def _shown(found: Collected, method: str) -> list[tuple[str, Result]]:
    ran = [(found.title(benchmark), found.ran(benchmark, method)) for benchmark in found.benchmarks]
    return [(title, one) for title, one in ran if one is not None and one.weights]
