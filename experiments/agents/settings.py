"""The section `agents` of params.yaml, checked as a whole at the start of every stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encore import configuration
from encore.errors import UserError
from encore.training import SFTSettings
from encore.training.agents import AgentRLSettings

RUNS = Path("runs/agents")
ALGORITHMS = ("grpo", "gigpo")


@dataclass(frozen=True)
class SweepSettings:
    """Trials, each a training of `iterations` with its `trials` entry put over `agents.rl`; `tasks` of the panel `dev`
    judge."""

    iterations: int = 24
    tasks: int = 120
    trials: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("iterations", "tasks"):
            if getattr(self, name) < 1:
                raise UserError(f"agents.sweep.{name} is {getattr(self, name)}: it must be at least 1")


@dataclass(frozen=True)
class AgentSettings:
    """What is trained. Every run of an environment starts from one policy: the base, fine-tuned by `sft` on expert
    episodes; `tasks` are the training tasks that RL may play, none of them of a panel."""

    environments: list[str] = field(default_factory=lambda: ["alfworld", "webshop"])
    algorithms: list[str] = field(default_factory=lambda: ["grpo"])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    demonstrations: dict[str, int] = field(default_factory=lambda: {"alfworld": 320, "webshop": 200})
    demonstration_seed: int = 0
    tasks: dict[str, int] = field(default_factory=lambda: {"alfworld": 1000, "webshop": 1000})
    task_seed: int = 1
    sweep: SweepSettings = field(default_factory=SweepSettings)
    sft: dict[str, SFTSettings] = field(default_factory=dict)
    rl: dict[str, AgentRLSettings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for algorithm in self.algorithms:
            if algorithm not in ALGORITHMS:
                raise UserError(f"agents.algorithms names '{algorithm}': choose from {', '.join(ALGORITHMS)}")
        for seed in self.seeds:
            configuration.seed(str(seed))
        for environment in self.environments:
            for name in ("demonstrations", "tasks", "sft", "rl"):
                if environment not in getattr(self, name):
                    raise UserError(f"agents.{name} has no '{environment}', which agents.environments names: add it")


def settings() -> AgentSettings:
    """The checked section `agents` of params.yaml."""
    return configuration.build(AgentSettings, configuration.read(["agents"])["agents"], "agents")


def cell(stage: str, environment: str, algorithm: str, seed: int) -> Path:
    """Folder of one cell of the matrix of a stage."""
    return RUNS / stage / f"{environment}-{algorithm}-{seed}"


def group(profile: str, environment: str, algorithm: str) -> dict[str, str]:
    """What a parent run in MLflow stands for: one algorithm in one environment, at one scale."""
    return {"profile": profile, "environment": environment, "method": algorithm}
