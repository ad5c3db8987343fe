"""The section `maestro` of params.yaml, checked as a whole at the start of every stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from encore import configuration
from encore.benchmarks import BenchmarkSettings
from encore.errors import UserError
from encore.evaluation.judge_settings import JudgeSettings
from encore.scalarization.settings import ConductorSettings
from encore.training import SFTSettings
from encore.training.conductor import MultiRewardSettings
from experiments.maestro.arms import Arm, arm

RUNS = Path("runs/maestro")


@dataclass(frozen=True)
class WarmupSettings:
    """The policy that all arms of a benchmark start from: the base, fine-tuned on `examples` validation rows; 0: the
    base as it is, as in the paper, whose models are tuned to instructions already."""

    examples: int = 0
    sft: SFTSettings = field(default_factory=SFTSettings)

    def __post_init__(self) -> None:
        if self.examples < 0:
            raise UserError(f"maestro.warmup.examples is {self.examples}: it must be at least 0")


@dataclass(frozen=True)
class PreferenceSettings:
    """The preference reward's model: `source` is a reward model of the hub or a folder; null: a linear head is trained
    here on `pairs` pairs from validation rows, of which `held_out` are kept to test it."""

    source: str | None = None
    pairs: int = 300
    held_out: int = 60

    def __post_init__(self) -> None:
        if not 0 < self.held_out < self.pairs:
            raise UserError(f"maestro.preference.held_out is {self.held_out} of {self.pairs} pairs: keep some of both")


@dataclass(frozen=True)
class RewardSettings:
    """The rewards of all arms that name none of their own, and what is said about single ones."""

    names: list[str] = field(default_factory=lambda: ["perplexity", "format", "entropy", "length", "preference"])
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class AnswerSettings:
    """How test items are answered. `temperature` 0 is greedy."""

    max_response_tokens: int = 64
    temperature: float = 0.0
    batch_size: int = 128

    def __post_init__(self) -> None:
        if self.max_response_tokens < 1 or self.batch_size < 1:
            raise UserError("maestro.answers.max_response_tokens and maestro.answers.batch_size must be at least 1")
        if self.temperature < 0:
            raise UserError(f"maestro.answers.temperature is {self.temperature}: 0 is greedy, more samples")


@dataclass(frozen=True)
class JudgingSettings:
    """How the judge of `maestro.judge_url` is asked about the answers to the test.

    Attributes:
        against: kind (is it correct, where rows have one right answer; is it preferred to the reference, for free
            texts); or, for all benchmarks: correctness, reference, base (is it preferred to the base's answer).
        swap: how places are swapped in comparisons; see `encore.evaluation.judge`.
        options: of `encore.evaluation.judge_settings.JudgeSettings`, beside url and model.
    """

    against: Literal["kind", "correctness", "reference", "base"] = "kind"
    swap: Literal["alternate", "both", "none"] = "alternate"
    options: dict[str, Any] = field(default_factory=dict)

    def settings(self, maestro: MaestroSettings) -> JudgeSettings:
        """Whom to ask. Raises UserError for an option that there is not."""
        own = {**self.options, "url": maestro.judge_url or "", "model": maestro.judge_model or ""}
        return configuration.build(JudgeSettings, own, "maestro.judging.options")


@dataclass(frozen=True)
class MaestroSettings:
    """What is compared.

    `methods` are arms of `experiments.maestro.arms`; a profile takes them from `method_sets`, by `full`. `workers`
    cells (arm and seed) of a benchmark are trained at a time, each in a process of one thread; 1: one after the other,
    with all threads. `by_benchmark` holds what differs for single benchmarks, in sections `rl` and `conductor`.
    `static` holds points of a grid of weights.
    """

    benchmarks: BenchmarkSettings = field(default_factory=BenchmarkSettings)
    full: bool = False
    method_sets: dict[str, list[str]] = field(default_factory=dict)
    methods: list[str] = field(default_factory=lambda: ["base", "sft", "nover", "em", "equal", "random", "ours"])
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    workers: int = 1
    warmup: WarmupSettings = field(default_factory=WarmupSettings)
    sft: SFTSettings = field(default_factory=SFTSettings)
    preference: PreferenceSettings = field(default_factory=PreferenceSettings)
    rewards: RewardSettings = field(default_factory=RewardSettings)
    judge_url: str | None = None
    judge_model: str | None = None
    judging: JudgingSettings = field(default_factory=JudgingSettings)
    rl: MultiRewardSettings = field(default_factory=MultiRewardSettings)
    conductor: ConductorSettings = field(default_factory=ConductorSettings)
    by_benchmark: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    static: dict[str, dict[str, float]] = field(default_factory=dict)
    answers: AnswerSettings = field(default_factory=AnswerSettings)

    def __post_init__(self) -> None:
        for method in self.methods:
            arm(method, self.static)
        missing = [method for method in self.method_sets.get("full_True", []) if method not in self.methods]
        if self.full and missing:
            raise UserError(
                f"maestro.full is true, and maestro.methods lacks {', '.join(missing[:3])}: compose both with `encore "
                "profile use PROFILE maestro.full=true`, or set maestro.full: false"
            )
        if len(set(self.methods)) != len(self.methods):
            raise UserError("maestro.methods names an arm twice: name each once")
        for seed in self.seeds:
            configuration.seed(str(seed))
        if not self.seeds or self.workers < 1:
            raise UserError("maestro.seeds needs a seed, and maestro.workers at least 1")
        for benchmark, sections in self.by_benchmark.items():
            for section in sections:
                if section not in ("rl", "conductor"):
                    raise UserError(f"maestro.by_benchmark.{benchmark}.{section} is no section: choose rl or conductor")
        if "ours_joint" in self.methods and self.rl.loss_normalization == "response":
            raise UserError(
                "maestro.methods has ours_joint, whose Conductor has no gradient under maestro.rl.loss_normalization "
                "response (a group's advantages sum to 0): set it to token, or leave the arm out"
            )
        if bool(self.judge_url) != bool(self.judge_model):
            raise UserError("maestro.judge_url and maestro.judge_model go together: set both, or neither")
        if self.judged:
            self.judging.settings(self)

    @property
    def judged(self) -> bool:
        """Whether a judge is asked about the answers to the test; else rules check them."""
        return bool(self.judge_url and self.judge_model)

    def arms(self) -> list[Arm]:
        """The arms in the order of `methods`."""
        return [arm(method, self.static) for method in self.methods]

    def skip(self, one: Arm) -> str | None:
        """Why an arm cannot run here; None if it can."""
        if one.name == "llm_judge" and not self.judged:
            return "it needs the endpoint of a judge: set maestro.judge_url and maestro.judge_model"
        return None

    def cells(self) -> list[tuple[Arm, int]]:
        """Arms that can run, with their seeds; an arm that trains nothing has the first seed alone."""
        return [
            (one, seed)
            for one in self.arms()
            if self.skip(one) is None
            for seed in (self.seeds if one.seeded else self.seeds[:1])
        ]


def settings() -> MaestroSettings:
    """The checked section `maestro` of params.yaml."""
    return configuration.build(MaestroSettings, configuration.read(["maestro"])["maestro"], "maestro")


def section(params: Mapping[str, Any], name: str, benchmark: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The section rl or conductor for an arm: its `own` values over the benchmark's over everybody's."""
    maestro = params["maestro"]
    return {**maestro[name], **maestro["by_benchmark"].get(benchmark, {}).get(name, {}), **own}


def cell(stage: str, benchmark: str, method: str, seed: int) -> Path:
    """Folder of one cell: an arm and a seed on a benchmark."""
    return RUNS / stage / benchmark / f"{method}-{seed}"


def group(profile: str, benchmark: str, method: str) -> dict[str, str]:
    """What a parent run in MLflow stands for: one arm on one benchmark, at one scale."""
    return {"profile": profile, "environment": benchmark, "method": method}
