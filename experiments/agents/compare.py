"""Stage agents.compare: what reinforcement learning adds to the start policy, its cost and its curves."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from encore import configuration, tracking
from encore.statistics import mean_interval, paired_bootstrap
from experiments.agents.settings import RUNS, AgentSettings, cell, group, settings

PARAMS = ["profile", "tracking", "agents.environments", "agents.algorithms", "agents.seeds"]
CURVES = {
    "rollout/success": "episodes won, share",
    "rollout/return": "return, mean",
    "rollout/invalid_share": "invalid actions, share",
    "rollout/entropy": "entropy, nats a token",
}
WINDOW = 7  # iterations in the running mean
Rows = list[dict[str, Any]]


def episodes(folder: Path) -> dict[str, Rows]:
    """Rows of a run's episodes by panel, in the panel's order."""
    found: dict[str, Rows] = defaultdict(list)
    for line in (folder / "tables" / "episodes.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["panel"]].append(row)
    return dict(found)


def costs(folder: Path) -> dict[str, float]:
    """Seconds by phase, and the counters, of a training."""
    record = yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))["costs"]
    return {
        **{f"{phase}_s": record["phases"].get(phase, {"wall_s": 0.0})["wall_s"] for phase in ("rollout", "update")},
        "total_s": record["wall_s"],
        "environment_steps": record["environment_steps"],
    }


def compare(agents: AgentSettings) -> Rows:
    """One row an environment, panel, metric and policy: mean over seeds, and the gain over the start.

    The interval of the gain is a paired bootstrap over tasks (episodes of all seeds on a task stay together); all
    values are percentages, seconds, or counts.
    """
    table: Rows = []
    for environment in agents.environments:
        start = episodes(RUNS / "start" / environment)
        metrics = [("success", "won")] if environment == "alfworld" else [("success", "won"), ("score", "reward")]
        for panel, (metric, key) in itertools.product(start, metrics):
            before = np.array([float(row[key]) for row in start[panel]])
            table.append(
                {
                    "environment": environment,
                    "panel": panel,
                    "metric": metric,
                    "policy": "start",
                    "mean": 100 * before.mean(),
                }
                | {"invalid_share": _invalid(start[panel])}
            )
            for algorithm in agents.algorithms:
                folders = [cell("evaluate", environment, algorithm, seed) for seed in agents.seeds]
                played = [episodes(folder)[panel] for folder in folders]
                after = np.array([[float(row[key]) for row in rows] for rows in played])
                gain = paired_bootstrap(after.mean(axis=0), before)
                over_seeds = mean_interval(after.mean(axis=1)) if len(agents.seeds) > 1 else None
                spent = [costs(cell("train", environment, algorithm, seed)) for seed in agents.seeds]
                table.append(
                    {
                        "environment": environment,
                        "panel": panel,
                        "metric": metric,
                        "policy": algorithm,
                        "mean": 100 * after.mean(),
                        "per_seed": [round(100 * value, 2) for value in after.mean(axis=1)],
                        "seeds_low": None if over_seeds is None else 100 * over_seeds.low,
                        "seeds_high": None if over_seeds is None else 100 * over_seeds.high,
                        "gain": 100 * (after.mean() - before.mean()),
                        "gain_low": 100 * gain.low,
                        "gain_high": 100 * gain.high,
                        "invalid_share": _invalid([row for rows in played for row in rows]),
                        **{name: float(np.mean([one[name] for one in spent])) for name in spent[0]},
                    }
                )
    return table


def _invalid(rows: Rows) -> float:
    return 100 * sum(row["invalid_actions"] for row in rows) / max(1, sum(row["steps"] for row in rows))


def markdown(table: Rows) -> str:
    """The table for people."""
    lines = [
        "| environment | panel | metric | policy | mean % | seeds | gain, points (95 % over tasks) | "
        "invalid actions % | rollout s | update s | environment steps |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table:
        name = f"| {row['environment']} | {row['panel']} | {row['metric']} | {row['policy']} | {row['mean']:.1f} |"
        if row["policy"] == "start":
            lines.append(f"{name} | | {row['invalid_share']:.1f} | | | |")
            continue
        gain = f"{row['gain']:+.1f} ({row['gain_low']:+.1f} to {row['gain_high']:+.1f})"
        seeds = " ".join(f"{value:.1f}" for value in row["per_seed"])
        spent = f"{row['rollout_s']:.0f} | {row['update_s']:.0f} | {row['environment_steps']:.0f}"
        lines.append(f"{name} {seeds} | {gain} | {row['invalid_share']:.1f} | {spent} |")
    return "\n".join(lines) + "\n"


def curves(agents: AgentSettings, environment: str) -> Figure:
    """A figure: every seed's training in an environment, and its running mean."""
    figure = Figure(figsize=(3.2 * len(CURVES), 2.6), layout="constrained")
    axes = figure.subplots(1, len(CURVES))
    for (axis, name), algorithm in itertools.product(zip(axes, CURVES, strict=True), agents.algorithms):
        for place, seed in enumerate(agents.seeds):
            path = cell("train", environment, algorithm, seed) / "metrics.jsonl"
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            steps, values = np.array([(line["step"], line[name]) for line in lines if name in line]).T
            window = min(WINDOW, len(values))
            smooth = np.convolve(values, np.ones(window) / window, mode="valid")
            colour = f"C{agents.algorithms.index(algorithm)}"
            axis.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
            axis.plot(
                steps[window - 1 :], smooth, color=colour, alpha=0.9, label=None if place else f"{algorithm}, each seed"
            )
        axis.set_title(CURVES[name], fontsize=9)
        axis.set_xlabel("iteration", fontsize=8)
    axes[0].legend(fontsize=8)
    return figure


@tracking.stage_main
def main() -> None:
    agents = settings()
    params = configuration.read(PARAMS)
    folders = [RUNS / stage for stage in ("start", "train", "evaluate")]
    with tracking.start(
        out=RUNS / "compare",
        stage="agents.compare",
        experiment="agents",
        group={},
        seed=None,
        params=params,
        inputs=folders,
    ) as run:
        table = compare(agents)
        (run.out / "comparison.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
        (run.out / "comparison.md").write_text(markdown(table), encoding="utf-8")
        for environment in agents.environments:
            run.figure(f"curves-{environment}", curves(agents, environment))
        summaries: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
        for row in table:
            if row["policy"] != "start":
                name = f"{row['metric']}_{row['panel']}"
                summaries[row["environment"], row["policy"]][name] = {
                    "mean": row["mean"],
                    "gain": {"mean": row["gain"], "low": row["gain_low"], "high": row["gain_high"]},
                }
        for (environment, algorithm), summary in summaries.items():
            tracking.log_parent("agents", group(params["profile"], environment, algorithm), summary)
        run.result(
            {f"{row['environment']}/{row['policy']}/{row['metric']}_{row['panel']}": row["mean"] for row in table}
        )
    print(markdown(table))


if __name__ == "__main__":
    main()
