"""What the stages of MAESTRO left on disk, gathered for the comparison."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from encore.benchmarks.published import BENCHMARKS
from encore.errors import UserError
from experiments.maestro import judging
from experiments.maestro.arms import Arm
from experiments.maestro.settings import RUNS, MaestroSettings, cell

COUNTERS = ("tokens_trained", "tokens_generated", "flops", "energy_kwh", "price")
TRAINING = ("sft", "rollout", "reward", "update")
CURVES = ("conductor/entropy", "conductor/temperature", "rl/entropy")
STAND_INS = {"reasoning": "Reasoning", "choice": "Choice", "rewriting": "Rewriting", "translation": "Translation"}


@dataclass(frozen=True)
class Result:
    """One arm on one benchmark.

    Attributes:
        scores: [seeds, items], in [0, 1]; None with a reason in `skipped` for an arm that was not run.
        by_rule: the same by the rule that stands in for a judge; equal to `scores` where no judge was asked.
        undecided: share of items on which the judge's votes gave no majority, by seed; empty without a judge.
        response_tokens, format_share: means over items, by seed.
        training_s: seconds of training by seed, the phases of `phases` summed; 0 for an arm that trains nothing.
        weights: histories of the rewards' mean weights by seed: (rewards, [steps, K]); empty for supervised arms.
        curves: by seed, the values of CURVES step by step, those that the arm has.
    """

    benchmark: str
    arm: Arm
    seeds: list[int] = field(default_factory=list)
    scores: np.ndarray | None = None
    by_rule: np.ndarray | None = None
    undecided: list[float] = field(default_factory=list)
    response_tokens: list[float] = field(default_factory=list)
    format_share: list[float] = field(default_factory=list)
    training_s: list[float] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float | None] = field(default_factory=dict)
    weights: list[tuple[list[str], np.ndarray]] = field(default_factory=list)
    curves: list[dict[str, np.ndarray]] = field(default_factory=list)
    skipped: str = ""

    @property
    def per_item(self) -> np.ndarray:
        """The score of each item, a mean over seeds."""
        assert self.scores is not None
        return self.scores.mean(axis=0)


@dataclass(frozen=True)
class Collected:
    """All results by benchmark and arm, and what is known of each benchmark."""

    maestro: MaestroSettings
    results: dict[tuple[str, str], Result]
    about: dict[str, dict[str, Any]]
    preference: dict[str, dict[str, Any]]

    @property
    def benchmarks(self) -> list[str]:
        return self.maestro.benchmarks.names

    def title(self, benchmark: str) -> str:
        """The benchmark's name in tables; a stand-in says that it is one."""
        if benchmark in BENCHMARKS:
            return BENCHMARKS[benchmark].title
        return f"{STAND_INS[benchmark]} (stand-in)"

    def metric(self, benchmark: str) -> str:
        """What a benchmark's scores are: the judge's name, or the rule's, called a substitute."""
        about = self.about[benchmark]
        if self.maestro.judged:
            return judging.name(self.maestro, about["metric"])
        return f"{about['metric_name']} (substitute)"

    def ran(self, benchmark: str, method: str) -> Result | None:
        """The result of an arm that was run, else None."""
        found = self.results.get((benchmark, method))
        return None if found is None or found.scores is None else found


def collect(maestro: MaestroSettings) -> Collected:
    """Everything. Raises UserError for a cell that is missing, or two cells that answered other items."""
    results, about, preference = {}, {}, {}
    for benchmark in maestro.benchmarks.names:
        about[benchmark] = json.loads((RUNS / "data" / benchmark / "benchmark.json").read_text(encoding="utf-8"))
        head = RUNS / "preference" / benchmark / "metrics.json"
        preference[benchmark] = json.loads(head.read_text(encoding="utf-8")) if head.is_file() else {}
        items: list[str] | None = None
        for one in maestro.arms():
            reason = maestro.skip(one)
            if reason is not None:
                results[benchmark, one.name] = Result(benchmark, one, skipped=reason)
                continue
            seeds = [seed for arm, seed in maestro.cells() if arm.name == one.name]
            found, answered = _result(benchmark, one, seeds, maestro.judged)
            if items is not None and answered != items:
                raise UserError(
                    f"{benchmark}: arm {one.name} answered other items than the arms before: run `dvc repro`"
                )
            items, results[benchmark, one.name] = answered, found
    return Collected(maestro, results, about, preference)


def _result(benchmark: str, one: Arm, seeds: list[int], judged: bool) -> tuple[Result, list[str]]:
    """The arm's result and the ids of the items, which must be the same under every seed."""
    scores, by_rule, lengths, formatted, training, weights = [], [], [], [], [], []
    undecided: list[float] = []
    curves: list[dict[str, np.ndarray]] = []
    ids: list[str] | None = None
    phases: dict[str, float] = defaultdict(float)
    costs: dict[str, float | None] = dict.fromkeys(COUNTERS, 0.0)
    for seed in seeds:
        folder = cell("evaluate", benchmark, one.name, seed)
        rows = [json.loads(line) for line in _read(folder / "tables" / "answers.jsonl").splitlines()]
        answered = [row["id"] for row in rows]
        if ids is not None and answered != ids:
            raise UserError(f"{benchmark} {one.name}: seed {seed} answered other items than the seeds before")
        ids = answered
        by_rule.append([row["score"] for row in rows])
        if judged:
            table = judging.folder(benchmark, one.name, seed) / "tables" / "verdicts.jsonl"
            verdicts = {row["id"]: row for row in map(json.loads, _read(table).splitlines())}
            scores.append([verdicts[row["id"]]["score"] for row in rows])
            undecided.append(float(np.mean([verdicts[row["id"]]["outcome"] == "undecided" for row in rows])))
        lengths.append(float(np.mean([row["tokens"] for row in rows])))
        formatted.append(float(np.mean([row["formatted"] for row in rows])))
        trained = cell("train", benchmark, one.name, seed)
        records = [record(trained)["costs"], record(folder)["costs"]]
        for costs_of_run in records:
            for phase, spent in costs_of_run["phases"].items():
                if phase != "other":
                    phases[phase] += spent["wall_s"] / len(seeds)
            for name in COUNTERS:
                value, known = costs_of_run.get(name), costs[name]
                costs[name] = None if value is None or known is None else known + value / len(seeds)
        training.append(sum(records[0]["phases"].get(name, {"wall_s": 0.0})["wall_s"] for name in TRAINING))
        history = trained / "weights.json"
        if history.is_file():
            weights.append(_weights(json.loads(history.read_text(encoding="utf-8"))))
            curves.append(_curves(trained / "metrics.jsonl"))
    result = Result(
        benchmark,
        one,
        seeds,
        np.asarray(scores or by_rule, dtype=float),
        np.asarray(by_rule, dtype=float),
        undecided,
        lengths,
        formatted,
        training,
        dict(phases),
        costs,
        weights,
        curves,
    )
    return result, ids or []


def _weights(content: Mapping[str, Any]) -> tuple[list[str], np.ndarray]:
    lines = sorted(content["history"], key=lambda line: line["step"])
    return list(content["rewards"]), np.asarray([line["weights"] for line in lines], dtype=float)


def _curves(path: Path) -> dict[str, np.ndarray]:
    lines = [json.loads(line) for line in _read(path).splitlines()]
    return {
        name: np.asarray([line[name] for line in lines if name in line], dtype=float)
        for name in CURVES
        if any(name in line for line in lines)
    }


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} is not here: run the stages before (dvc repro maestro.compare)")
    return path.read_text(encoding="utf-8")


def record(folder: Path) -> dict[str, Any]:
    """run.yaml of a finished run."""
    return yaml.load(_read(folder / "run.yaml"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
