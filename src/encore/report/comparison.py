"""What a compare stage found, as plain data: filled once, saved as JSON, rendered by the other modules of this package.

Conventions of every number here: a rate or score is a fraction of 1 (renderers show percent), a `reported` value
keeps the paper's own unit, a time is in seconds, a lack is `None` (never NaN, never zero). Lists keep the order in
which rows are shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from encore.report import codec


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
    rule: list[str] = field(default_factory=list)  # how verdicts were reached, one sentence each
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
        method: the arm's id (`base`, `sft`, `random`, `prism_gini`, ...); `label` is its name in tables.
        metric: `success` (share of episodes won) or `score` (mean reward in [0, 1]).
        seeds, per_seed: training seeds and the mean of the panel under each, in the same order.
        low, high: 95 % interval of `mean`; `interval` says in words what it is over.
        episodes: episodes in all (seeds x games); `wins`: their sum of outcomes.
        reported_reason: why there is no `reported` value, where there is none. other_reported: the paper's values of
        its other backbones.
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
    other_reported: dict[str, ReportedValue] = field(default_factory=dict)
    by_type: dict[str, TypeResult] = field(default_factory=dict)
    verdict: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an arm cost, a mean over its seeds; None where a quantity was not measured. `energy_kwh` is an estimate.

    `training_per_seed_s` is what it took until the policy stood (all phases but `evaluate`), in the order of the seeds.
    """

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
    training_per_seed_s: list[float] = field(default_factory=list)

    @property
    def training_s(self) -> float | None:
        """Wall-clock seconds until the policy stands: every phase but `evaluate`, which all arms have alike."""
        return _total({phase: wall_s for phase, wall_s in self.wall_s.items() if phase != "evaluate"})

    @property
    def total_s(self) -> float | None:
        """Wall-clock seconds over all phases; None if there is none or one was not timed, since a part is no total."""
        return _total(self.wall_s)


def _total(wall_s: dict[str, float | None]) -> float | None:
    known = [value for value in wall_s.values() if value is not None and math.isfinite(value)]
    return sum(known) if known and len(known) == len(wall_s) else None


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Arm `a` against arm `b` on the same games: mean of a minus mean of b, in fractions of 1.

    Attributes:
        low, high, bootstrap_p: nested bootstrap over games and seeds. per_seed: the difference under each seed.
        mcnemar_p: exact two-sided McNemar for each of them. clustered_p: the same over all seeds, those of a game kept
        together; None for scores. n: games. family: tests that one correction covers; adjusted_p: after Holm over it.
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
    clustered_p: float | None = None
    family: str = ""
    adjusted_p: float | None = None


@dataclass(frozen=True, slots=True)
class Correlation:
    """How a routing score goes with something it ought not to be a mere copy of.

    `measure` names what `rho` is: Spearman's rank correlation, or, against a category, eta squared of the ranks (0 to
    1) with the p of Kruskal and Wallis.
    """

    environment: str
    score: str  # e.g. "gini"
    against: str  # e.g. "length in tokens"
    rho: float | None
    p: float | None
    n: int
    measure: str = "Spearman ρ"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two rankings of the same examples: Spearman's rho, and the share that both send to the same half."""

    environment: str
    kind: str  # "metrics" (of one probe) or "probes" (of one metric)
    a: str
    b: str
    rho: float | None
    p: float | None
    same_half: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the gradient of examples with the lowest and the highest scores is: mean share of each matrix in a row's
    sum of norms; `matrices` are named as in the probe."""

    environment: str
    score: str
    matrices: list[str]
    low: list[float]
    high: list[float]
    low_n: int
    high_n: int


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
    adjusted_p: float | None = None  # after Holm over the claims of its family


@dataclass(frozen=True, slots=True)
class CostClaim:
    """What a paper says of time, and what happened here; made by `cost_verdict.judge`.

    `reported` and `value` are ratios: how many times as long arm b takes as arm a (`faster`), or the probe's share of
    arm a's total. `low`, `high`: the range over seeds.
    """

    id: str
    text: str
    environment: str
    kind: str
    source: str
    a: str
    b: str
    bound: float | None
    reported: float | None
    value: float | None
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
    cost_claims: list[CostClaim] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)

    def save(self, path: Path | str) -> None:
        """Writes JSON to `path` in one step (a reader sees the old file or the new one). NaN becomes null."""
        codec.save(self, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> Comparison:
        """Reads what `save` wrote. Raises UserError on a missing file, another format or a missing field."""
        return codec.load(cls, Path(path))
