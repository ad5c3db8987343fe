"""What the stages of PRISM left on disk, gathered for the comparison: outcomes of episodes, and costs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from encore import arbitration
from encore.errors import UserError
from encore.report.comparison import Cost
from experiments.prism.settings import RUNS, cell

COUNTERS = ("tokens_trained", "tokens_generated", "environment_steps", "flops", "device_h", "energy_kwh", "price")
METRICS = {"alfworld": {"success": "won"}, "webshop": {"success": "won", "score": "reward"}}  # columns of an episode
OVERHEAD = ("other", "tracking")  # loading, saving and talking to MLflow: no part of any method
PROBED = {"norms", "losses"}  # columns that only the probe gives; lengths and types are known without it
NOT_STARTED = "its stages have no output here"


@dataclass(frozen=True)
class Panel:
    """One arm on one panel: the games as (id, task type), and per metric and seed one number a game, in their order."""

    games: list[tuple[str, str]]
    outcomes: dict[str, dict[int, list[float]]]

    @property
    def task_types(self) -> list[str]:
        return [kind for _, kind in self.games]


@dataclass(frozen=True)
class Played:
    """What the arms of one environment played: arm -> panel -> outcomes; and why the others did not."""

    panels: dict[str, dict[str, Panel]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def panel_names(self) -> list[str]:
        return list(dict.fromkeys(name for panels in self.panels.values() for name in panels))


def played(environment: str, methods: list[str], seeds: list[int]) -> Played:
    """Every arm's episodes.

    An arm without any output is skipped with a reason. Raises UserError, in one line, where an arm has the output of
    some seeds and not of others, where two seeds or two arms did not play the same games, or where a score is not
    between 0 and 1.
    """
    found = Played()
    for method in methods:
        tables = {seed: cell("evaluate", environment, method, seed) / "tables" / "episodes.jsonl" for seed in seeds}
        there = [seed for seed, table in tables.items() if table.exists()]
        if not there:
            found.skipped[method] = _why_not(environment, method, seeds)
            continue
        if len(there) < len(seeds):
            lacking = next(seed for seed in seeds if seed not in there)
            raise UserError(
                f"{environment} {method}: seed {lacking} has no {tables[lacking]}, while seed {there[0]} has: run `dvc "
                "repro prism.compare`, or take the seed out of prism.seeds"
            )
        found.panels[method] = _panels(environment, method, tables)
    _check_same_games(environment, found)
    return found


def _why_not(environment: str, method: str, seeds: list[int]) -> str:
    """The reason that stage prism.split gave, if it did."""
    for seed in seeds:
        path = cell("evaluate", environment, method, seed) / "metrics.json"
        if path.exists():
            return str(json.loads(path.read_text(encoding="utf-8")).get("not_run", NOT_STARTED))
    return NOT_STARTED


def record(folder: Path) -> dict[str, Any]:
    """run.yaml of a finished run. Raises UserError if there is none."""
    path = folder / "run.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file: run `dvc repro prism.compare`") from error
    content: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return content


def cost(environment: str, method: str, seeds: list[int]) -> Cost:
    """What an arm costs, a mean over seeds.

    Seconds by phase: probe, pass_rates, sft, rollout, update, and evaluate, which is no part of an arm's training. An
    arm pays in full for the stage whose columns it needs, the probe or the pass rates, though arms share them: each is
    priced as if it were run alone. Counters (tokens, steps, FLOPs, energy) leave the evaluation out.
    """
    arm = arbitration.arm(method)
    shared = []
    if PROBED & set(arm.needs):
        shared.append(record(RUNS / "probe" / environment)["costs"])
    if "pass_rates" in arm.needs:
        shared.append(record(RUNS / "pass_rates" / environment)["costs"])
    wall_s: dict[str, float] = defaultdict(float)
    sums: dict[str, float] = defaultdict(float)
    missing: set[str] = set()
    per_seed, peak_mb = [], 0.0
    for seed in seeds:
        training = [*shared, record(cell("train", environment, method, seed))["costs"]]
        evaluation = record(cell("evaluate", environment, method, seed))["costs"]
        trained = [_phases(costs) for costs in training]
        per_seed.append(sum(sum(phases.values()) for phases in trained))
        for phases in [*trained, {"evaluate": _phases(evaluation).get("evaluate", 0.0)}]:
            for phase, spent in phases.items():
                wall_s[phase] += spent / len(seeds)
        for costs in training:
            peak_mb = max(peak_mb, costs["peak_memory_mb"] or 0.0)
            for name in COUNTERS:
                if costs.get(name) is None:
                    missing.add(name)
                else:
                    sums[name] += costs[name] / len(seeds)
    order = ("probe", "pass_rates", "sft", "rollout", "update")
    return Cost(
        environment=environment,
        method=method,
        label=arm.label,
        seeds=len(seeds),
        wall_s={
            **{phase: wall_s[phase] for phase in order if phase in wall_s},
            **{phase: spent for phase, spent in wall_s.items() if phase not in order},
        },
        peak_memory_bytes=peak_mb * 1e6 or None,
        training_per_seed_s=per_seed if any(per_seed) else [],
        **{name: None if name in missing else sums[name] for name in COUNTERS},
    )


def _panels(environment: str, method: str, tables: Mapping[int, Path]) -> dict[str, Panel]:
    games: dict[str, list[tuple[str, str]]] = {}
    outcomes: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(dict))
    columns = METRICS.get(environment, {"success": "won"})
    for seed, table in tables.items():
        rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in table.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[row["panel"]].append(row)
        for name, episodes in rows.items():
            these = [(row["id"], row["task_type"]) for row in episodes]
            if games.setdefault(name, these) != these:
                raise UserError(
                    f"{environment} {method}: seed {seed} played other games on panel '{name}': run `dvc repro` again"
                )
            for metric, column in columns.items():
                values = [float(row[column]) for row in episodes]
                if not all(0 <= value <= 1 for value in values):
                    raise UserError(f"{table}: a {metric} of panel '{name}' is not between 0 and 1")
                outcomes[name][metric][seed] = values
    return {name: Panel(games[name], {m: dict(of) for m, of in outcomes[name].items()}) for name in games}


def _check_same_games(environment: str, found: Played) -> None:
    first: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for method, panels in found.panels.items():
        for name, panel in panels.items():
            other, games = first.setdefault(name, (method, panel.games))
            if games != panel.games:
                raise UserError(
                    f"{environment}: '{method}' and '{other}' did not play the same games on panel '{name}': run `dvc "
                    "repro prism.compare`"
                )


def _phases(costs: Mapping[str, Any]) -> dict[str, float]:
    return {name: spent["wall_s"] for name, spent in costs["phases"].items() if name not in OVERHEAD}
