"""The section `prism` of params.yaml, checked as a whole at the start of every stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from encore import arbitration, configuration
from encore.errors import UserError
from encore.training import SFTSettings

RUNS = Path("runs/prism")


@dataclass(frozen=True)
class ProbeSettings:
    """How gradients are probed. `batch_tokens` bounds the padded tokens of a batch, and so memory, not the result."""

    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.batch_tokens < 1:
            raise UserError(f"prism.probe.batch_tokens is {self.batch_tokens}: it must be at least 1")


@dataclass(frozen=True)
class PrismSettings:
    """What is compared. `methods` are names of `encore.arbitration`; `demonstration_seed` draws the training tasks."""

    environments: list[str] = field(default_factory=lambda: ["alfworld"])
    methods: list[str] = field(default_factory=lambda: ["base", "sft", "random", "prism_low", "prism_high"])
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    rl_fraction: float = 0.5
    demonstration_seed: int = 0
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    sft: SFTSettings = field(default_factory=SFTSettings)

    def __post_init__(self) -> None:
        for method in self.methods:
            arbitration.arm(method)  # raises UserError, naming the arms there are
        for seed in self.seeds:
            configuration.seed(str(seed))
        if not 0 < self.rl_fraction < 1:
            raise UserError(f"prism.rl_fraction is {self.rl_fraction}: it is a share between 0 and 1")
        if self.demonstration_seed < 0:
            raise UserError(f"prism.demonstration_seed is {self.demonstration_seed}: seeds are whole numbers from 0")


def settings() -> PrismSettings:
    """The checked section `prism` of params.yaml."""
    return configuration.build(PrismSettings, configuration.read(["prism"])["prism"], "prism")


def cell(stage: str, environment: str, method: str, seed: int) -> Path:
    """Folder of one cell of the matrix of a stage."""
    return RUNS / stage / f"{environment}-{method}-{seed}"


def group(profile: str, environment: str, method: str) -> dict[str, str]:
    """What a parent run in MLflow stands for: one method in one environment, at one scale."""
    return {"profile": profile, "environment": environment, "method": method}
