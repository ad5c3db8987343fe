"""What a compare stage found, as plain data: filled once, saved as JSON, rendered by the other modules of this package.

Conventions of every number here: a rate or score is a fraction of 1 (renderers show percent), a `reported` value
keeps the paper's own unit, a time is in seconds, a lack is `None` (never NaN, never zero). Lists keep the order in
which rows are shown.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from encore.errors import UserError

FORMAT = 1  # raised when a saved comparison of an older Encore can no longer be read


@dataclass(frozen=True, slots=True)
class Meta:
    """Where a comparison comes from: enough to run it again and to judge its scale."""

    paper: str  # the folder under experiments/, e.g. "prism"
    title: str
    profile: str  # smoke, laptop, gpu, paper
    backbone: str  # what was trained here, in words: name, parameters
    reported_backbone: str  # what the paper trained
    date: str  # ISO 8601
    git_commit: str
    command: str
    machine: str
    versions: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)  # the paper's and the run's caveats, one sentence each
    notes: list[str] = field(default_factory=list)
    same_scale: bool = False  # True only if backbone, data and panels are the paper's own
    mlflow_experiment: str | None = None
    reported_scale: str = ""  # the paper's setting in one sentence (`ReportedNumbers.scale`)
    how_to_add: str = ""  # where a new arm goes, one sentence


@dataclass(frozen=True, slots=True)
class ReportedValue:
    """A number as the paper prints it; `episodes` of its panel is None where the paper gives no count."""

    value: float
    unit: str  # "percent", "points" (a 0 to 100 score), "seconds", "ratio"
    source: str  # e.g. "Table 1 (a)"
    warning: str | None = None
    episodes: int | None = None
    backbone: str = ""


@dataclass(frozen=True, slots=True)
class TypeResult:
    """Episodes of one task type, pooled over seeds; the interval is clustered by game like its row's."""

    wins: float
    episodes: int
    low: float | None = None
    high: float | None = None
    reported: ReportedValue | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One arm on one panel of one environment.

    Attributes:
        method: the arm's id (`base`, `sft`, `random`, `prism_low`, ...); `label` is its name in tables.
        metric: `success` (share of episodes won) or `score` (mean reward in [0, 1]).
        seeds, per_seed: training seeds and the mean of the panel under each, in the same order.
        low, high: 95 % interval of `mean`; `interval` says in words what it is over.
        episodes: episodes in all (seeds x games); `wins`: their sum of outcomes.
        reported_reason: why there is no `reported` value, where there is none.
        skipped: why the arm was not run; such a row has no seeds, no episodes and no mean.
    """

    environment: str
    method: str
    label: str
    panel: str
    metric: str
    seeds: list[int]
    per_seed: list[float]
    mean: float | None
    low: float | None
    high: float | None
    interval: str
    episodes: int
    wins: float
    reported: ReportedValue | None = None
    reported_reason: str = ""
    by_type: dict[str, TypeResult] = field(default_factory=dict)
    verdict: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an arm cost, a mean over its seeds; None where a quantity was not measured. `energy_kwh` is an estimate."""

    environment: str
    method: str
    label: str
    seeds: int
    wall_s: dict[str, float | None] = field(default_factory=dict)  # by phase: probe, sft, rollout, update, evaluate
    device_h: float | None = None
    tokens_trained: float | None = None
    tokens_generated: float | None = None
    environment_steps: float | None = None
    flops: float | None = None
    energy_kwh: float | None = None
    peak_memory_bytes: float | None = None
    price: float | None = None

    @property
    def total_s(self) -> float | None:
        """Wall-clock seconds over all phases; None if there is none or one was not timed, since a part is no total."""
        known = [wall_s for wall_s in self.wall_s.values() if wall_s is not None and math.isfinite(wall_s)]
        return sum(known) if known and len(known) == len(self.wall_s) else None


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Arm `a` against arm `b` on the same games: mean of a minus mean of b, in fractions of 1.

    Attributes:
        low, high, bootstrap_p: paired bootstrap over games, each game's outcome averaged over seeds. per_seed: the
        difference under each seed that both arms ran. mcnemar_p: exact two-sided McNemar for each of those seeds (a
        list, because pooling seeds would count a game twice). n: games.
    """

    environment: str
    panel: str
    metric: str
    a: str
    b: str
    difference: float
    low: float
    high: float
    bootstrap_p: float
    n: int
    per_seed: list[float] = field(default_factory=list)
    mcnemar_p: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman rank correlation of a routing score with something it ought not to be a mere copy of."""

    environment: str
    score: str  # e.g. "gini"
    against: str  # e.g. "length in tokens"
    rho: float | None
    p: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Share:
    """How many examples of a task type a split sent to RL."""

    environment: str
    method: str
    task_type: str
    to_rl: int
    total: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the paper and what happened to it here; made by `verdict.judge`."""

    id: str
    text: str
    environment: str
    panel: str
    metric: str
    a: str
    b: str
    basis: str  # reported (a table), figure (no number), implied (by the paper's argument)
    source: str
    reported_difference: float | None  # fractions of 1
    reported_low: float | None
    reported_high: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that a report shows."""

    meta: Meta
    rows: list[Row] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    tests: list[PairedTest] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    correlations: list[Correlation] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)

    def save(self, path: Path | str) -> None:
        """Writes JSON to `path` in one step (a reader sees the old file or the new one). NaN becomes null."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, **_finite(dataclasses.asdict(self))}
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        scratch.replace(path)

    @classmethod
    def load(cls, path: Path | str) -> Comparison:
        """Reads what `save` wrote. Raises UserError on a missing file, another format or a missing field."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError) as error:
            raise UserError(f"{path}: no readable JSON ({error}); run the compare stage first") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{path}: not a comparison of format {FORMAT}; run the compare stage again")
        del content["format"]
        try:
            return _decode(cls, content)
        except (TypeError, KeyError) as error:
            raise UserError(f"{path}: not a readable comparison ({error}); run the compare stage again") from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


T = TypeVar("T")


def _decode(kind: type[T], content: dict[str, Any]) -> T:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(content) - set(hints))
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {unknown[0]!r}")
    return kind(**{name: _value(hints[name], value) for name, value in content.items()})


def _value(hint: Any, value: Any) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _decode(hint, value)
    if origin in (types.UnionType, typing.Union):  # only `X | None` occurs here
        return None if value is None else _value(next(kind for kind in inner if kind is not type(None)), value)
    if origin is list:
        return [_value(inner[0], item) for item in value]
    if origin is dict:
        return {key: _value(inner[1], item) for key, item in value.items()}
    return value
