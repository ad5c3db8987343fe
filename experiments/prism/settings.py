"""The section `prism` of params.yaml, checked as a whole at the start of every stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from encore import arbitration, configuration
from encore.errors import UserError
from encore.training import SFTSettings
from encore.training.agents import AgentRLSettings

RUNS = Path("runs/prism")


@dataclass(frozen=True)
class ProbeSettings:
    """How gradients are probed. `batch_tokens` bounds the padded tokens of a batch, and so memory, not the result."""

    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.batch_tokens < 1:
            raise UserError(f"prism.probe.batch_tokens is {self.batch_tokens}: it must be at least 1")


@dataclass(frozen=True)
class PassRateSettings:
    """How often the frozen base wins each training task, in `rollouts` sampled episodes of a task; 0: not asked.

    `max_steps` ends an episode earlier than the environment would; `batch_size` bounds the episodes played at once.
    """

    rollouts: int = 8
    temperature: float = 1.0
    max_steps: int | None = None
    max_action_tokens: int = 24
    batch_size: int = 256
    max_error_share: float = 0.05

    def __post_init__(self) -> None:
        if self.rollouts < 0:
            raise UserError(f"prism.pass_rates.rollouts is {self.rollouts}: it must be at least 1, or 0 for none")
        if self.temperature <= 0:
            raise UserError(
                f"prism.pass_rates.temperature is {self.temperature}: it must be positive, or all rollouts are the same"
            )
        if self.max_steps is not None and self.max_steps < 1:
            raise UserError(f"prism.pass_rates.max_steps is {self.max_steps}: it must be at least 1, or null")


@dataclass(frozen=True)
class PrismSettings:
    """What is compared.

    `methods` are names of `encore.arbitration`; a profile takes them from `method_sets`, by `full`. All arms share the
    recipe `sft` and, by environment, `rl`, whose `iterations` are those of an arm that explores every task; others get
    them in proportion to their share of tasks. `demonstration_seed` draws the training tasks. `panels` are the numbers
    of evaluation tasks, by environment and panel, and `max_steps` bounds their episodes, by environment; None: as the
    environment does.
    """

    full: bool = False
    method_sets: dict[str, list[str]] = field(default_factory=dict)
    environments: list[str] = field(default_factory=lambda: ["alfworld"])
    methods: list[str] = field(default_factory=lambda: ["base", "sft", "random"])
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    rl_fraction: float = 0.5
    demonstration_seed: int = 0
    panels: dict[str, dict[str, int]] = field(default_factory=dict)
    max_steps: dict[str, int | None] = field(default_factory=dict)
    pass_rates: PassRateSettings = field(default_factory=PassRateSettings)
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    sft: SFTSettings = field(default_factory=SFTSettings)
    rl: dict[str, AgentRLSettings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("environments", "methods", "seeds"):
            if not getattr(self, name):
                raise UserError(f"prism.{name} is empty: name at least one")
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise UserError(f"prism.{name} names something twice: {getattr(self, name)}")
        for method in self.methods:
            arbitration.arm(method)  # raises UserError, naming the arms there are
        for seed in self.seeds:
            configuration.seed(str(seed))
        if not 0 < self.rl_fraction < 1:
            raise UserError(f"prism.rl_fraction is {self.rl_fraction}: it is a share between 0 and 1")
        if self.demonstration_seed < 0:
            raise UserError(f"prism.demonstration_seed is {self.demonstration_seed}: seeds are whole numbers from 0")
        for environment in self.environments:
            limit = self.max_steps.get(environment)
            if limit is not None and limit < 1:
                raise UserError(f"prism.max_steps.{environment} is {limit}: it must be at least 1, or null")
            for name in ("rl", "panels"):
                if environment not in getattr(self, name):
                    known = ", ".join(getattr(self, name)) or "nothing"
                    raise UserError(
                        f"prism.environments names '{environment}', of which prism.{name} (that has {known}) says "
                        "nothing: correct the name, or add it there"
                    )
        self._check_full()

    def _check_full(self) -> None:
        """`methods` and `full` stand in one file, where an edit may change one and not the other."""
        extra = set(self.method_sets.get("full_True", [])) - set(self.method_sets.get("full_False", []))
        missing = [method for method in self.method_sets.get("full_True", []) if method not in self.methods]
        if self.full and missing:
            shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            raise UserError(
                f"prism.full is true, and prism.methods lacks {shown}: compose both with `encore profile use PROFILE "
                "prism.full=true`, or set prism.full: false"
            )
        if not self.full and extra and extra <= set(self.methods):
            raise UserError(
                "prism.full is false, and prism.methods holds every arm of the full set: set prism.full: true, or "
                "compose both with `encore profile use PROFILE`"
            )


def settings() -> PrismSettings:
    """The checked section `prism` of params.yaml."""
    return configuration.build(PrismSettings, configuration.read(["prism"])["prism"], "prism")


def cell(stage: str, environment: str, method: str, seed: int) -> Path:
    """Folder of one cell of the matrix of a stage."""
    return RUNS / stage / f"{environment}-{method}-{seed}"


def routes_of(environment: str, method: str, seed: int) -> Path:
    """The file of stage prism.split that says what one method, under one seed, sends where."""
    return RUNS / "split" / environment / f"{method}-{seed}.json"


def group(profile: str, environment: str, method: str) -> dict[str, str]:
    """What a parent run in MLflow stands for: one method in one environment, at one scale."""
    return {"profile": profile, "environment": environment, "method": method}
