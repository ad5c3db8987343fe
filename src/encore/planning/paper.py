"""What a paper's `experiments/<paper>/plan.py` says: what its cells compute and keep, and what has to be built."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
class Reported:
    """A time that the paper prints for one run, and what the plan has for the same run."""

    name: str
    printed: str
    wall_h: float
    work: list[Work]


@contextmanager
def naming(keys: Mapping[str, str]) -> Iterator[None]:
    """Puts the parameter's key before a registry's error, which does not know it; `keys` by the error's beginning."""
    try:
        yield
    except UserError as error:
        for beginning, key in keys.items():
            if str(error).startswith(beginning):
                raise UserError(f"{key}: {error}") from error
        raise


@dataclass(frozen=True)
class PaperPlan:
    """What a paper adds to a plan.

    Attributes:
        rules: by stage, the cost of a cell; a stage without one is listed with "no estimate".
        several: stages that run in several processes under `accelerate launch`.
        launched: stages that start themselves in the processes of the section `launch`.
        loads: what phases hold in memory.
        build: makes every object on a bench.
        checked: what was validated, as sentences.
        assumptions: settings of `planning` that its rules used, and others by name.
        reported: times that the paper prints.
        warnings: what will not work, or not as meant.
    """

    rules: dict[str, Rule]
    loads: list[Load]
    build: Callable[[Bench], None]
    checked: list[str]
    several: frozenset[str] = frozenset()
    launched: frozenset[str] = frozenset()
    assumptions: dict[str, float | str] = field(default_factory=dict)
    reported: list[Reported] = field(default_factory=list)
    reported_devices: int | None = None  # of the paper's machine; None: not named
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
