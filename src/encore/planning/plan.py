"""A plan: every stage of a paper with each backbone of a profile, and what all that takes."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encore import configuration, profiles
from encore.errors import UserError
from encore.planning import launch, memory, paper, work
from encore.planning.bench import Built, bench
from encore.planning.settings import PlanningSettings
from encore.planning.stages import Stage, compose, stages_of
from encore.planning.subject import Subject

NO_ESTIMATE = "no estimate"
PUBLISHED_BYTES = 2.0  # of a weight on the hub: bfloat16
CPU_ONLY = "CPU only: minutes, not estimated"


@dataclass
class Phase:
    """One phase of a stage, over all its cells: tokens, operations, hours of one device, and the rate's origin."""

    name: str
    kind: str
    tokens: float = 0.0
    flops: float = 0.0
    device_h: float = 0.0
    basis: str = ""


@dataclass
class StagePlan:
    """One stage. `kept` and `scratch` are bytes; `longest_h` is the longest cell, on one device."""

    name: str
    cells: int
    description: str
    estimate: str
    phases: list[Phase] = field(default_factory=list)
    longest_h: float = 0.0
    kept: float = 0.0
    scratch: float = 0.0
    several: bool = False
    launch: str = ""

    @property
    def device_h(self) -> float:
        return sum(phase.device_h for phase in self.phases)

    @property
    def flops(self) -> float:
        return sum(phase.flops for phase in self.phases)

    @property
    def tokens(self) -> float:
        return sum(phase.tokens for phase in self.phases)

    def wall_h(self, devices: int) -> float:
        """On `devices`: cells side by side, and none faster than its longest, unless it can use several."""
        floor = self.longest_h / devices if self.several else self.longest_h
        return max(self.device_h / devices, floor)


@dataclass
class BackbonePlan:
    """All stages with one backbone."""

    name: str
    source: str
    overrides: list[str]
    architecture: str
    parameters: int
    device: str
    devices: int
    checked: list[str]
    built: list[Built]
    notes: list[str]
    warnings: list[str]
    fits: list[dict[str, Any]]
    stages: list[StagePlan]
    reported: list[dict[str, Any]]
    weights: float
    assumptions: dict[str, float | str]
    rate: float | None

    @property
    def device_h(self) -> float:
        return sum(stage.device_h for stage in self.stages)

    @property
    def wall_h(self) -> float:
        return sum(stage.wall_h(self.devices) for stage in self.stages)

    @property
    def flops(self) -> float:
        return sum(stage.flops for stage in self.stages)

    @property
    def disk(self) -> float:
        """Bytes at most: the weights, all that is kept, and the scratch of the stage that has most of it."""
        at_once = [
            stage.scratch * (min(stage.cells, self.devices) if not stage.several else 1) for stage in self.stages
        ]
        return self.weights + sum(stage.kept for stage in self.stages) + max(at_once, default=0.0)


@dataclass
class Plan:
    """A paper at a profile."""

    paper: str
    profile: str
    backbones: list[BackbonePlan]

    @property
    def price(self) -> float | None:
        """In the rate's currency; None without a rate."""
        prices = [one.device_h * one.rate for one in self.backbones if one.rate is not None]
        return sum(prices) if prices else None


def make(
    name: str,
    profile: str,
    overrides: Sequence[str] = (),
    *,
    build: bool = True,
    conf: Path = profiles.CONF,
    pipeline: Path = Path("dvc.yaml"),
    progress: Callable[[str], None] = lambda _: None,
) -> Plan:
    """The plan of a paper; `build` false leaves out the small models. Runs nothing, fetches nothing.

    Raises UserError for an unknown paper or profile, and for whatever a stage of it would refuse.
    """
    planned = paper.of(name)
    first = compose(profile, list(overrides), conf)
    planning = configuration.build(PlanningSettings, first.get("planning") or {}, "planning")
    backbones = planning.backbones.get(name) or {"": []}
    plans = []
    for label, own in backbones.items():
        params = compose(profile, [*own, *overrides], conf) if own else first
        subject = Subject.of(label, params, name)
        progress(f"{name}: {subject.name}")
        try:
            plans.append(_with(subject, planned(subject), stages_of(name, params, pipeline), list(own), build))
        except KeyError as error:
            raise UserError(
                f"profile '{profile}' lacks the key {error} that the plan of {name} reads: add it to conf/profile"
            ) from error
    return Plan(name, profile, plans)


def _with(
    subject: Subject, paper_plan: paper.PaperPlan, stages: list[Stage], overrides: list[str], build: bool
) -> BackbonePlan:
    built: list[Built] = []
    if build:
        with bench(subject) as made:
            made.architecture()
            made.chat()
            paper_plan.build(made)
        built = made.built
    on_cpu = subject.policy.device == "cpu"
    launching = launch.settings(subject.params)
    fits = (
        []
        if on_cpu
        else [
            launch.fit(subject.backbone, subject.policy, subject.planning, load, launching) for load in paper_plan.loads
        ]
    )
    planned = [_stage(subject, stage, paper_plan) for stage in stages]
    warnings = list(paper_plan.warnings)
    warnings += _memory_warnings(fits, planned, subject)
    if not stages:
        warnings.append("dvc.yaml has no stage of this paper yet")
    tracking = subject.params.get("tracking") or {}
    devices = 1 if on_cpu else subject.planning.gpus
    own = {"lengths": "expert episodes played here"} if subject._episodes else {}
    return BackbonePlan(
        name=subject.name,
        source=subject.backbone.source,
        overrides=overrides,
        architecture=type(subject.backbone.config).__name__.removesuffix("Config"),
        parameters=subject.backbone.parameters,
        device="CPU thread" if on_cpu else "GPU",
        devices=devices,
        checked=paper_plan.checked,
        built=built,
        notes=subject.notes,
        warnings=warnings,
        fits=[_told(one) for one in fits],
        stages=planned,
        reported=[_beside(one, subject, paper_plan.reported_devices) for one in paper_plan.reported]
        if not on_cpu
        else [],
        weights=0.0 if Path(subject.policy.source).is_dir() else subject.backbone.parameters * PUBLISHED_BYTES,
        assumptions={**own, **paper_plan.assumptions, **(_named(subject.planning) if not on_cpu else _of_cpu(subject))},
        rate=tracking.get("price_per_device_hour"),
    )


def _stage(subject: Subject, stage: Stage, paper_plan: paper.PaperPlan) -> StagePlan:
    launching = launch.settings(subject.params)
    launched = stage.name in paper_plan.launched and launching.processes > 1
    several = launched or stage.name in paper_plan.several
    planned = StagePlan(stage.name, len(stage.cells), stage.description, NO_ESTIMATE, several=several)
    rule = paper_plan.rules.get(stage.name)
    if rule is None:
        return planned
    phases: dict[tuple[str, str], Phase] = {}
    for cell in stage.cells:
        cost = rule(cell)
        took_h = 0.0
        for one in cost.work:
            spent = work.spend(one, subject.backbone, subject.policy, subject.planning)
            phase = phases.setdefault((one.phase, one.kind), Phase(one.phase, one.kind, basis=spent.basis))
            phase.tokens += one.tokens
            phase.flops += spent.flops
            phase.device_h += spent.device_s / 3600
            took_h += spent.device_s / 3600
        planned.kept += cost.kept
        planned.scratch = max(planned.scratch, cost.scratch)
        planned.longest_h = max(planned.longest_h, took_h)
    planned.phases = list(phases.values())
    unknown = any(math.isnan(phase.device_h) for phase in planned.phases)
    planned.estimate = NO_ESTIMATE if unknown else "estimated" if planned.phases else CPU_ONLY
    if planned.phases and subject.policy.device != "cpu" and stage.cells:
        command = stage.command_of(stage.cells[-1])
        if launched:
            planned.launch = launch.started(command, launching)
        else:
            planned.launch = launch.command(command, "ddp", subject.planning.gpus) if several else command
    return planned


def _memory_warnings(fits: list[launch.Fit], stages: list[StagePlan], subject: Subject) -> list[str]:
    """What is too large for the GPUs that hold it, and what to do about it."""
    too_large = [one for one in fits if not one.planned and one.verdict != "fits one GPU"]
    sharded = [one for one in fits if one.planned]
    lines = []
    if too_large:
        whole = ", ".join(f"{one.load.phase} {one.replicated.total / memory.GB:.0f}" for one in too_large)
        lines.append(
            f"too large for a GPU that holds all weights ({too_large[0].capacity / memory.GB:.0f} GB may be used): "
            f"{whole} GB. Set lora_rank, shorten the context, or lower what is computed at once"
        )
        alone = [stage.name for stage in stages if stage.phases and not stage.several]
        if alone:
            lines.append(f"these stages run in one process, on one GPU a cell: {', '.join(alone)}")
    for one in sharded:
        if one.sharded.total > one.capacity:
            lines.append(
                f"{one.load.phase} does not fit: {one.sharded.total / memory.GB:.0f} GB a GPU under FSDP on "
                f"{one.processes}, of {one.capacity / memory.GB:.0f} GB: raise launch.processes, or lower device_batch"
            )
    if sharded:
        copies = 1 + max(one.load.copies for one in sharded)
        host_gb = copies * subject.backbone.parameters * memory.BYTES[subject.policy.dtype] / memory.GB
        lines.append(
            "training under FSDP was checked on CPUs with small models (two processes learn what one learns), and "
            f"never run on GPUs; before weights are dealt out each process holds {host_gb:.0f} GB of the machine's "
            f"memory, {host_gb * sharded[0].processes:.0f} GB together"
        )
    return lines


def _beside(one: paper.Reported, subject: Subject, devices: int | None) -> dict[str, Any]:
    spent = [work.spend(part, subject.backbone, subject.policy, subject.planning).device_s for part in one.work]
    paper_h = None if devices is None else one.wall_h * devices
    return {"name": one.name, "printed": one.printed, "paper_gpu_h": paper_h, "plan_gpu_h": sum(spent) / 3600}


def _told(one: launch.Fit) -> dict[str, Any]:
    shown = one.sharded if one.planned else one.replicated
    parts = {name: value / memory.GB for name, value in dataclasses.asdict(shown).items() if value}
    return {
        "phase": one.load.phase,
        "one_gpu_gb": one.replicated.total / memory.GB,
        "ddp_gb": one.ddp.total / memory.GB,
        "fsdp_gb": one.sharded.total / memory.GB,
        "parts_gb": parts,
        "verdict": one.verdict,
    }


def _named(planning: PlanningSettings) -> dict[str, float | str]:
    shown = dataclasses.asdict(planning)
    del shown["backbones"]
    return shown


def _of_cpu(subject: Subject) -> dict[str, float | str]:
    found: dict[str, float | str] = defaultdict(str)
    for line in work.measured().values():
        rate = f"{line['tokens_s']} tokens/s" if "tokens_s" in line else f"{line['steps_s']} steps/s"
        found[f"measured {line['phase']}"] = f"{rate}, {line['machine']} ({line['source']})"
    names = ("episode_share", "sample_tasks", "row_tokens", "answer_tokens", "response_share")
    return {**found, **{name: getattr(subject.planning, name) for name in names}}
