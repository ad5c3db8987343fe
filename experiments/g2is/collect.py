"""What the earlier stages left on disk, as arrays and plain records for the comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from encore import data
from encore.errors import UserError
from encore.tracking.files import read_yaml
from experiments.g2is.settings import METRICS, MULTI_TARGET, RUNS, Cell, G2isSettings

SMALLER_IS_BETTER = {"loss"}


@dataclass(frozen=True)
class Arm:
    """One arm at one fraction on one target.

    Attributes:
        setting: the target it was chosen for: the tested one, `pooled` or `union`.
        scores: by metric [seeds, examples], turned so that more is better (the loss is negative).
        ids: of the test examples.
        facts: mean over seeds of examples, steps, tokens and seconds of the training, from its results and costs.
    """

    setting: str
    target: str
    method: str
    fraction: float
    seeds: list[int]
    scores: dict[str, Float[np.ndarray, "seeds examples"]]
    ids: list[str]
    facts: dict[str, float]
    skipped: str = ""

    @property
    def ran(self) -> bool:
        return not self.skipped


@dataclass
class Collected:
    """All arms, read once."""

    g2is: G2isSettings
    arms: list[Arm] = field(default_factory=list)

    def find(self, method: str, target: str, fraction: float, setting: str | None = None) -> Arm | None:
        """The arm that ran; `base` and `full` stand for themselves at every fraction. None where there is none."""
        wanted = fraction
        plugin = self.g2is.plugin(method)
        if plugin in (None, "full"):
            wanted, setting = (0.0, None) if plugin is None else (1.0, None)
        place = (method, target, wanted, setting or target)
        for arm in self.arms:
            if (arm.method, arm.target, arm.fraction, arm.setting) == place and arm.ran:
                return arm
        return None

    def ran(self, method: str, target: str, fraction: float) -> Arm:
        """The arm, of which it is known that it ran. Raises KeyError where it did not."""
        arm = self.find(method, target, fraction)
        if arm is None:
            raise KeyError(f"{method} on {target} at {fraction}")
        return arm

    @cached_property
    def domains(self) -> dict[str, str]:
        """Domain of each target."""
        return {
            target: json.loads((RUNS / "data" / target / "about.json").read_text())["domain"]
            for target in self.g2is.targets
        }


def collect(g2is: G2isSettings) -> Collected:
    """Every arm of `g2is.methods`. Raises UserError where a run is missing."""
    found = Collected(g2is)
    for method in g2is.methods:
        groups: dict[tuple[str, float], list[Cell]] = {}
        for cell in g2is.cells(method):
            groups.setdefault((cell.target, cell.fraction), []).append(cell)
        for (setting, fraction), cells in groups.items():
            reason = _skipped(cells[0])
            for target in g2is.tested(setting):
                if reason:
                    arm = Arm(setting, target, method, fraction, [], {}, [], {}, reason)
                else:
                    arm = _arm(setting, target, method, fraction, cells)
                found.arms.append(arm)
    return found


def _arm(setting: str, target: str, method: str, fraction: float, cells: Sequence[Cell]) -> Arm:
    runs = [[row for row in _rows(cell.out) if row["target"] == target] for cell in cells]
    ids = [row["id"] for row in runs[0]]
    if any([row["id"] for row in rows] != ids for rows in runs):
        raise UserError(f"{cells[0].out.parent}: seeds were tested on different examples: run g2is.train again")
    scores = {}
    for metric in METRICS:
        values = np.array([[row[metric] for row in rows if metric in row] for rows in runs], float)
        scores[metric] = -values if metric in SMALLER_IS_BETTER else values
    facts = [_facts(cell.out) for cell in cells]
    means = {name: float(np.mean([one[name] for one in facts])) for name in facts[0]}
    return Arm(setting, target, method, fraction, [cell.seed for cell in cells], scores, ids, means)


def _skipped(cell: Cell) -> str:
    path = cell.out / "skipped.json"
    return json.loads(path.read_text())["skipped"] if path.is_file() else ""


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "tables" / "examples.jsonl"
    if not path.is_file():
        raise UserError(f"{folder} has no tested examples: run `dvc repro g2is.compare`, which trains that arm")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _facts(folder: Path) -> dict[str, float]:
    result = json.loads((folder / "metrics.json").read_text())
    costs = read_yaml(folder / "run.yaml")["costs"]
    names = ("examples", "steps", "tokens", "train_wall_s")
    return {name: float(result[name]) for name in names} | {
        "energy_kwh": float(costs.get("energy_kwh") or 0.0),
        "evaluate_wall_s": float(costs["phases"].get("evaluate", {"wall_s": 0.0})["wall_s"]),
    }


@dataclass(frozen=True)
class Preparation:
    """What gradients cost, once for all arms; seconds of one process, if several computed side by side.

    Attributes:
        warmup_s: of the warmup training.
        gradients_s: of one pool store: one checkpoint, one reading of Adam; target gradients included.
        representations_s: of losses and hidden states of the pool.
        store_bytes: of one pool store.
        stores: how many were made; `checkpoints` of each reading.
    """

    warmup_s: float
    gradients_s: float
    representations_s: float
    store_bytes: float
    stores: int
    checkpoints: int


def preparation(g2is: G2isSettings) -> Preparation:
    """From the records of the warmup and gradient stages."""
    pool = RUNS / "gradients" / "pool"
    phases = read_yaml(pool / "run.yaml")["costs"]["phases"]
    result = json.loads((pool / "metrics.json").read_text())
    targets = [read_yaml(RUNS / "gradients" / name / "run.yaml")["costs"]["phases"] for name in g2is.targets]
    of_targets = sum(one["gradients"]["wall_s"] for one in targets) / len(targets)
    stores = int(result["stores"])
    checkpoints = stores // len(g2is.gradients.readings)
    return Preparation(
        warmup_s=read_yaml(RUNS / "warmup" / "run.yaml")["costs"]["phases"]["warmup"]["wall_s"],
        gradients_s=int(result["processes"]) * phases["gradients"]["wall_s"] / stores + of_targets / checkpoints,
        representations_s=int(result["processes"]) * phases["representations"]["wall_s"],
        store_bytes=result["disk_bytes"] / stores,
        stores=stores,
        checkpoints=checkpoints,
    )


def choices() -> list[dict[str, Any]]:
    """One row a selection: method, target, fraction, seed, count, requested, seconds, skipped."""
    path = RUNS / "select" / "tables" / "choices.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def families(target: str, g2is: G2isSettings) -> set[str]:
    """Families of a target's validation rows."""
    rows = [data.read_instructions(RUNS / "data" / name / "validation.jsonl") for name in g2is.tested(target)]
    return {row.family for part in rows for row in part}


def is_multi(setting: str) -> bool:
    """Whether a setting serves all targets at once."""
    return setting in MULTI_TARGET
