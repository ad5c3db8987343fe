"""What the stages of PRISM left on disk, gathered for the comparison."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from encore import arbitration, statistics
from encore.errors import UserError
from encore.report.comparison import Correlation, Cost, Share
from experiments.prism.settings import RUNS, PrismSettings, cell

COUNTERS = ("tokens_trained", "tokens_generated", "environment_steps", "flops")


@dataclass(frozen=True)
class Panel:
    """Outcomes of one arm on one panel: per seed one 1 or 0 a game, and the games' types, in the panel's order."""

    outcomes: dict[int, list[float]]
    task_types: list[str]


def panels(environment: str, method: str, seeds: list[int]) -> dict[str, Panel]:
    """The arm's panels by name. Raises UserError if two seeds did not play the same games."""
    outcomes: dict[str, dict[int, list[float]]] = defaultdict(dict)
    games: dict[str, list[tuple[str, str]]] = {}
    for seed in seeds:
        by_panel: dict[str, list[dict[str, Any]]] = defaultdict(list)
        table = cell("evaluate", environment, method, seed) / "tables" / "episodes.jsonl"
        for line in table.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            by_panel[row["panel"]].append(row)
        for name, rows in by_panel.items():
            played = [(row["id"], row["task_type"]) for row in rows]
            if games.setdefault(name, played) != played:
                raise UserError(
                    f"{environment} {method}: seed {seed} played other games on panel '{name}': run `dvc repro` again"
                )
            outcomes[name][seed] = [float(row["won"]) for row in rows]
    return {name: Panel(outcomes[name], [kind for _, kind in games[name]]) for name in outcomes}


def record(folder: Path) -> dict[str, Any]:
    """run.yaml of a finished run."""
    return yaml.load(
        (folder / "run.yaml").read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )


def cost(environment: str, method: str, seeds: list[int]) -> Cost:
    """What an arm costs from the base to its evaluation, a mean over seeds; an arm that reads gradient norms pays for
    the probe in full."""
    arm = arbitration.arm(method)
    uses_probe = arm.skip(arbitration.Context(n=1)) is not None
    wall_s: dict[str, float] = defaultdict(float)
    sums: dict[str, float] = defaultdict(float)
    missing: set[str] = set()
    peak_mb = 0.0
    for seed in seeds:
        runs = [record(cell(stage, environment, method, seed))["costs"] for stage in ("train", "evaluate")]
        if uses_probe:
            runs.append(record(RUNS / "probe" / environment)["costs"])
        for costs in runs:
            for phase, spent in costs["phases"].items():
                if phase != "other":
                    wall_s[phase] += spent["wall_s"] / len(seeds)
            for name in (*COUNTERS, "device_h", "energy_kwh", "price"):
                if costs.get(name) is None:
                    missing.add(name)
                else:
                    sums[name] += costs[name] / len(seeds)
            peak_mb = max(peak_mb, costs["peak_memory_mb"])
    return Cost(
        environment=environment,
        method=method,
        label=arm.label,
        seeds=len(seeds),
        wall_s=dict(wall_s),
        peak_memory_bytes=peak_mb * 1e6,
        **{name: None if name in missing else sums[name] for name in (*COUNTERS, "device_h", "energy_kwh", "price")},
    )


def diagnosis(environment: str, prism: PrismSettings) -> tuple[list[Correlation], list[Share]]:
    """What the concentration score goes with, and which task types each split sends to RL (first seed).

    A score that is mostly length, loss or task type would need no gradients.
    """
    probe = np.load(RUNS / "probe" / environment / "probe.npz")
    correlations = []
    others = {
        "length in tokens": "lengths",
        "response tokens": "responses",
        "turns": "turns",
        "loss of the base": "losses",
    }
    for metric in ("gini", "l2"):
        scores = arbitration.concentration(probe["norms"], metric)
        for text, column in others.items():
            found = statistics.spearman(scores, probe[column])
            correlations.append(
                Correlation(
                    environment=environment, score=metric, against=text, rho=found.rho, p=found.p, n=len(scores)
                )
            )
    shares = []
    types = probe["task_types"].tolist()
    place = {str(name): index for index, name in enumerate(probe["ids"])}
    for method in prism.methods:
        split = json.loads((cell("split", environment, method, prism.seeds[0]) / "split.json").read_text())
        if not split["rl"]:
            continue
        sent = [types[place[name]] for name in split["rl"]]
        shares += [
            Share(
                environment=environment, method=method, task_type=kind, to_rl=sent.count(kind), total=types.count(kind)
            )
            for kind in sorted(set(types))
        ]
    return correlations, shares
