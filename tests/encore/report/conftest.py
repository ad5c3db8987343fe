"""A comparison made the way a compare stage makes one, from invented outcomes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from encore.report.build import corrected, paired_test, result_row, skipped_row
from encore.report.claims import judge
from encore.report.comparison import Agreement, Comparison, Correlation, Cost, Meta, Profile, Row, Share
from encore.report.cost_verdict import judge as judge_costs
from encore.report.reported import ReportedNumbers, load
from encore.report.verdict import RULE

ROOT = Path(__file__).resolve().parents[3]
TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
CHANCE = {"base": 0.02, "sft": 0.62, "random": 0.40, "prism_gini": 0.58, "inverse_gini": 0.30}
SETTING = "full"


@pytest.fixture(scope="session")
def numbers() -> ReportedNumbers:
    return load(ROOT / "experiments/prism/reported.yaml")


@pytest.fixture(scope="session")
def reported_numbers(numbers: ReportedNumbers) -> ReportedNumbers:
    """For modules in which `numbers` is a module."""
    return numbers


@pytest.fixture(scope="session")
def comparison(numbers: ReportedNumbers) -> Comparison:
    generator = np.random.default_rng(5)
    games = {"seen": 140, "unseen": 134}
    seeds = {arm: [0] if arm == "base" else [0, 1] for arm in CHANCE}
    outcomes = {
        (arm, panel): {
            seed: [float(x) for x in generator.random(n) < chance * (0.8 if panel == "unseen" else 1)]
            for seed in seeds[arm]
        }
        for arm, chance in CHANCE.items()
        for panel, n in games.items()
    }
    rows: list[Row] = []
    for panel, n in games.items():
        types = [TYPES[i % 6] for i in range(n)]
        for arm in CHANCE:
            made = result_row(
                "alfworld", arm, panel, outcomes[arm, panel], task_types=types, numbers=numbers, setting=SETTING
            )
            rows.append(made)
    rows.append(skipped_row("alfworld", "hpt", "unseen", "no pass rates", numbers=numbers, setting=SETTING))
    pairs = [("sft", "base"), ("prism_gini", "random"), ("prism_gini", "inverse_gini"), ("random", "sft")]
    tests = [
        paired_test("alfworld", panel, a, b, outcomes[a, panel], outcomes[b, panel])
        for panel in games
        for a, b in pairs
    ]
    tests = corrected([dataclasses.replace(test, family="claims") for test in tests])
    labels = {row.method: row.label for row in rows}
    costs = [
        Cost(
            environment="alfworld",
            method=arm,
            label=labels[arm],
            seeds=len(seeds[arm]),
            wall_s={"evaluate": 41.0} if arm == "base" else {"probe": 12.5, "sft": 95.0 + 40 * index, "evaluate": 44.0},
            device_h=None if arm == "base" else 0.04,
            tokens_trained=None if arm == "base" else 1.31e6,
            tokens_generated=2.2e5,
            environment_steps=8123,
            flops=None if arm == "base" else 9.4e12,
            energy_kwh=0.0021,
            peak_memory_bytes=1.1e9,
            training_per_seed_s=[] if arm == "base" else [100.0 + 40 * index, 115.0 + 40 * index][: len(seeds[arm])],
        )
        for index, arm in enumerate(CHANCE)
    ]
    return Comparison(
        meta=Meta(
            paper="prism",
            title=numbers.title,
            profile="laptop",
            backbone="a tiny Llama of 3.1 M parameters from our own pretrain stage",
            reported_backbone="Qwen3-8B",
            reported_scale=numbers.scale,
            date="2026-03-04T10:11:12+00:00",
            git_commit="0123456789abcdef0123456789abcdef01234567",
            command="dvc repro prism.compare",
            machine="x86_64, 2 cores, 4 GB, no accelerator",
            versions={"encore": "0.1.0", "torch": "2.8.0", "trl": "0.24.0", "transformers": "4.57.0"},
            warnings=list(numbers.warnings.values()),
            notes=["Generated games of the small size; the paper plays the official ones."],
            mlflow_experiment="prism",
            rule=list(RULE),
        ),
        rows=rows,
        costs=costs,
        tests=tests,
        claims=judge(numbers, tests, SETTING),
        correlations=[
            Correlation("alfworld", "gini", "length in tokens", -0.412, 1e-6, 300),
            Correlation("alfworld", "gini", "loss", 0.77, 0.0, 300),
            Correlation("alfworld", "gini", "a constant", None, None, 300),
            Correlation("alfworld", "gini", "task type", 0.31, 0.002, 300, "η² of ranks"),
        ],
        cost_claims=judge_costs(numbers, costs),
        agreements=[
            Agreement("alfworld", "metrics", "gini", "cv", 0.93, 0.0, 0.91, 300),
            Agreement("alfworld", "probes", "gini of a", "gini of b", None, None, None, 300),
        ],
        profiles=[Profile("alfworld", "gini", ["layers.0.q", "layers.0.k"], [0.6, 0.4], [0.9, 0.1], 30, 30)],
        shares=[Share("alfworld", "prism_gini", name, 10 + 5 * index, 50) for index, name in enumerate(TYPES)],
    )


HOSTILE = "<script>alert('x')</script> & \"$\\frac\" [bold] | </svg> `rm`"


@pytest.fixture(scope="session")
def hostile(comparison: Comparison) -> Comparison:
    """Every text is an attack and every number that may lack does."""
    texts = ("paper", "title", "profile", "backbone", "reported_backbone", "date", "git_commit", "command", "machine")
    more = ("mlflow_experiment", "how_to_add", "reported_scale")
    meta = dataclasses.replace(
        comparison.meta,
        **dict.fromkeys((*texts, *more), HOSTILE),  # type: ignore[arg-type]
        versions={HOSTILE: HOSTILE},
        warnings=[HOSTILE],
        notes=[HOSTILE],
    )
    nan = float("nan")
    rows = [
        dataclasses.replace(
            row,
            environment=HOSTILE,
            label=HOSTILE,
            panel=HOSTILE,
            low=nan,
            high=nan,
            interval=HOSTILE,
            per_seed=[nan, row.per_seed[0]],
            reported_reason=HOSTILE,
            by_type={HOSTILE: next(iter(row.by_type.values()))},
        )
        for row in comparison.rows
        if row.per_seed
    ]
    costs = [Cost(HOSTILE, cost.method, HOSTILE, 1, {HOSTILE: nan, "sft": 1.0}, flops=nan) for cost in comparison.costs]
    tests = [
        dataclasses.replace(t, environment=HOSTILE, panel=HOSTILE, low=nan, mcnemar_p=[nan]) for t in comparison.tests
    ]
    claims = [dataclasses.replace(c, text=HOSTILE, verdict=HOSTILE, explanation=HOSTILE) for c in comparison.claims]
    return Comparison(
        meta,
        rows,
        costs,
        tests,
        claims,
        [Correlation(HOSTILE, HOSTILE, HOSTILE, nan, nan, 1)],
        [Share(HOSTILE, HOSTILE, HOSTILE, 0, 0)],
        [
            dataclasses.replace(c, text=HOSTILE, source=HOSTILE, explanation=HOSTILE, value=nan)
            for c in comparison.cost_claims
        ],
        [Agreement(HOSTILE, HOSTILE, HOSTILE, HOSTILE, nan, nan, nan, 1)],
    )
