"""Is the score more than length, loss or task type? What it goes with, how stable it is, where gradients are.

Checks that the paper does not make (its score is static and from one model); all on the probes that are on disk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encore import arbitration
from encore.association import group_effect, rank_agreement
from encore.errors import UserError
from encore.report.comparison import Agreement, Correlation, Profile, Share
from encore.statistics import spearman
from experiments.prism.settings import RUNS, PrismSettings, routes_of

SCORES = {"gini": "Gini", "kurtosis": "Kurtosis", "cv": "CV", "l2": "L2"}
AGAINST = {
    "lengths": "length in tokens",
    "responses": "response tokens",
    "turns": "turns",
    "losses": "loss of the base",
}
Probe = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Diagnosis:
    """What was found in one environment."""

    correlations: list[Correlation]
    agreements: list[Agreement]
    profiles: list[Profile]
    shares: list[Share]
    probes: list[str]


def probes(environment: str) -> dict[str, Path]:
    """The probe files of an environment by the name of their folder, the base's first: runs/prism/probe/<env>*."""
    found = {path.parent.name: path for path in sorted((RUNS / "probe").glob(f"{environment}*/probe.npz"))}
    return dict(sorted(found.items(), key=lambda item: item[0] != environment))


def diagnose(environment: str, prism: PrismSettings) -> Diagnosis:
    """All of it; empty lists where the environment was not probed."""
    files = probes(environment)
    if environment not in files:
        return Diagnosis([], [], [], [], list(files))
    probe = np.load(files[environment])
    return Diagnosis(
        correlations=correlations(environment, probe),
        agreements=between_metrics(environment, probe) + between_probes(environment, files),
        profiles=[profile(environment, probe, name) for name in SCORES if name != "l2"],
        shares=shares(environment, prism, probe),
        probes=list(files),
    )


def correlations(environment: str, probe: Probe) -> list[Correlation]:
    """Every score against length, response tokens, turns and loss (Spearman), and task type (eta squared of ranks)."""
    found = []
    for name, label in SCORES.items():
        scores = arbitration.concentration(probe["norms"], name)
        for column, text in AGAINST.items():
            rank = spearman(scores, probe[column])
            found.append(Correlation(environment, label, text, _finite(rank.rho), _finite(rank.p), rank.n))
        effect = group_effect(scores, probe["task_types"])
        found.append(
            Correlation(
                environment, label, "task type", _finite(effect.eta_squared), _finite(effect.p), effect.n, "η² of ranks"
            )
        )
    return found


def between_metrics(environment: str, probe: Probe) -> list[Agreement]:
    """How far Gini, Kurtosis, CV and L2 of one probe rank the examples alike."""
    scores = {label: arbitration.concentration(probe["norms"], name) for name, label in SCORES.items()}
    return [
        Agreement(environment, "metrics", pair.a, pair.b, _finite(pair.rho), _finite(pair.p), pair.same_half, pair.n)
        for pair in rank_agreement(scores)
    ]


def between_probes(environment: str, files: Mapping[str, Path]) -> list[Agreement]:
    """How far one metric ranks the examples alike under several models or checkpoints.

    `files` are probe.npz by name; examples are matched by id, and those that only one probe has are left out. Raises
    UserError if two probes share fewer than three examples.
    """
    loaded = {name: np.load(path) for name, path in files.items()}
    found = []
    names = list(loaded)
    for index, a in enumerate(names):
        for b in names[index + 1 :]:
            places_a, places_b = _common(loaded[a]["ids"], loaded[b]["ids"])
            if len(places_a) < 3:
                raise UserError(f"{files[a]} and {files[b]} share {len(places_a)} examples: probe the same ones")
            for metric, label in SCORES.items():
                pair = rank_agreement(
                    {
                        f"{label}: {a}": arbitration.concentration(loaded[a]["norms"][places_a], metric),
                        f"{label}: {b}": arbitration.concentration(loaded[b]["norms"][places_b], metric),
                    }
                )[0]
                rho, p = _finite(pair.rho), _finite(pair.p)
                found.append(Agreement(environment, "probes", pair.a, pair.b, rho, p, pair.same_half, pair.n))
    return found


def profile(environment: str, probe: Probe, metric: str) -> Profile:
    """Mean share of each matrix in the sum of norms, over the tenth of the examples with the lowest and the highest
    score (at least one example each)."""
    norms = np.asarray(probe["norms"], dtype=float)
    order = np.argsort(arbitration.concentration(norms, metric), kind="stable")
    part = norms / norms.sum(axis=1, keepdims=True)
    count = max(1, len(order) // 10)
    return Profile(
        environment,
        SCORES[metric],
        [str(name) for name in probe["matrices"]],
        low=[float(value) for value in part[order[:count]].mean(axis=0)],
        high=[float(value) for value in part[order[-count:]].mean(axis=0)],
        low_n=count,
        high_n=count,
    )


def shares(environment: str, prism: PrismSettings, probe: Probe) -> list[Share]:
    """Which task types each split sends to RL, under the first seed; of arms that send some and not all."""
    types = [str(kind) for kind in probe["task_types"]]
    place = {str(name): index for index, name in enumerate(probe["ids"])}
    found = []
    for method in prism.methods:
        path = routes_of(environment, method, prism.seeds[0])
        if not path.exists():
            continue
        sent = json.loads(path.read_text(encoding="utf-8")).get("rl", [])
        if not 0 < len(sent) < len(types):
            continue
        to_rl = [types[place[name]] for name in sent]
        found += [Share(environment, method, kind, to_rl.count(kind), types.count(kind)) for kind in sorted(set(types))]
    return found


def _common(a: np.ndarray, b: np.ndarray) -> tuple[list[int], list[int]]:
    places = {str(name): index for index, name in enumerate(b)}
    both = [(index, places[str(name)]) for index, name in enumerate(a) if str(name) in places]
    return [x for x, _ in both], [y for _, y in both]


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
