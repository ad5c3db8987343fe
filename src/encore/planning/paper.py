"""What a paper's `experiments/<paper>/plan.py` says: what its cells compute and keep, and what has to be built."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encore.errors import UserError
from encore.planning.bench import Bench
from encore.planning.memory import Load
from encore.planning.subject import Subject
from encore.planning.work import Work

EXPERIMENTS = Path("experiments")


@dataclass(frozen=True)
class Cost:
    """What one cell of a stage takes.

    Attributes:
        work: its phases; empty: the stage computes with no model.
        kept: bytes that it leaves in its outs.
        scratch: bytes of checkpoints at a time, gone when the cell has ended.
    """

    work: list[Work] = field(default_factory=list)
    kept: float = 0.0
    scratch: float = 0.0


Rule = Callable[[Mapping[str, Any]], Cost]


@dataclass(frozen=True)
class PaperPlan:
    """What a paper adds to a plan.

    Attributes:
        rules: by stage, the cost of a cell; a stage without one is listed with "no estimate".
        several: stages that run in several processes under `accelerate launch`.
        loads: what phases hold in memory.
        build: makes every object on a bench.
        checked: what was validated, as sentences.
        assumptions: settings of `planning` that its rules used, and others by name.
        reported: wall-clock that the paper prints: (name, hours on its machine).
        warnings: what will not work, or not as meant.
    """

    rules: dict[str, Rule]
    loads: list[Load]
    build: Callable[[Bench], None]
    checked: list[str]
    several: frozenset[str] = frozenset()
    assumptions: dict[str, float | str] = field(default_factory=dict)
    reported: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def papers(experiments: Path = EXPERIMENTS) -> list[str]:
    """Papers that can be planned: folders of experiments with a plan.py."""
    return sorted(path.parent.name for path in experiments.glob("*/plan.py"))


def of(paper: str) -> Callable[[Subject], PaperPlan]:
    """The function `plan` of a paper. Raises UserError for one that there is not."""
    if paper not in papers():
        known = ", ".join(papers()) or "none here: run this in the folder that holds experiments/"
        raise UserError(f"unknown paper '{paper}': choose from {known}")
    found: Callable[[Subject], PaperPlan] = importlib.import_module(f"experiments.{paper}.plan").plan
    return found
