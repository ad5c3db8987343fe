"""The section `g2is` of params.yaml, checked as a whole at the start of every stage."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encore import configuration
from encore.data import DataSettings
from encore.errors import UserError
from encore.policy import PolicySettings
from encore.training import SFTSettings

RUNS = Path("runs/g2is")
BASE = "base"  # the untrained model, an arm like the others
EVALUATORS = ("own", "lm_eval", "lm_eval_tasks")
READINGS = ("less_code", "paper")
METRICS = ("exact", "accuracy", "loss")  # of a test example
MULTI_TARGET = ("pooled", "union")  # one model for all targets, see `encore.selection.registry.Method.select`


@dataclass(frozen=True)
class WarmupSettings:
    """A LoRA fine-tuning on a random `fraction` of the pool; its `checkpoints` give Adam's moments to the gradients."""

    fraction: float = 0.05
    seed: int = 0
    checkpoints: int = 4
    sft: SFTSettings = field(default_factory=lambda: SFTSettings(lora_rank=8, epochs=4))

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise UserError(f"g2is.warmup.fraction is {self.fraction}: it must be above 0 and at most 1")
        if self.checkpoints < 1:
            raise UserError(f"g2is.warmup.checkpoints is {self.checkpoints}: gradients need at least one")
        if self.sft.lora_rank < 1:
            raise UserError("g2is.warmup.sft.lora_rank is 0: gradients are those of an adapter, so give it a rank")


@dataclass(frozen=True)
class GradientSettings:
    """How gradients become features. `readings`: of Adam, see `encore.gradients.adam`; `max_tokens` bounds memory."""

    dim: int = 8192
    seed: int = 0
    readings: list[str] = field(default_factory=lambda: ["less_code"])
    max_tokens: int = 8192
    rows_per_shard: int = 4096

    def __post_init__(self) -> None:
        for reading in self.readings:
            if reading not in READINGS:
                raise UserError(f"g2is.gradients.readings names '{reading}': choose from {', '.join(READINGS)}")
        if not self.readings:
            raise UserError("g2is.gradients.readings is empty: name at least one of Adam's readings")


@dataclass(frozen=True)
class EvaluateSettings:
    """How a model is tested. Loss and accuracy always come from `encore.evaluation.answers`.

    Attributes:
        by: where exact match comes from. own: greedy decoding of the whole reference (short answers); lm_eval:
            lm-evaluation-harness on the same rows; lm_eval_tasks: its own tasks where it has them, which need the hub.
        max_tokens: of a batch; bounds memory, not the result.
        batch_size, max_new_tokens: of the harness.
    """

    by: str = "own"
    max_tokens: int = 4096
    batch_size: int = 8
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if self.by not in EVALUATORS:
            raise UserError(f"g2is.evaluate.by is '{self.by}': choose from {', '.join(EVALUATORS)}")
        for name in ("max_tokens", "batch_size", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"g2is.evaluate.{name} is {getattr(self, name)}: it must be at least 1")


@dataclass(frozen=True)
class Variant:
    """A method with other open choices than its defaults, under a name of its own."""

    method: str
    parameters: dict[str, Any] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True)
class G2isSettings:
    """What is compared.

    Attributes:
        policy: what differs from the section `policy`, which all papers share; null: nothing.
        full: whether the arms that train on the whole pool are among `methods`, which a profile takes from
            `method_sets` by it.
        targets: names of targets of `data.source`.
        methods: names of `encore.selection`, of `variants`, or `base` for the untrained model.
        parameters: open choices by method (`encore.selection` tells which a method has).
        variants: arms of their own, by name. One that is not in `methods` is selected and compared, not trained on.
        fractions: shares of the pool that every arm but `base` and `full` trains on.
        curve: further fractions, for the arms of `curve_methods` only.
        multi_target: settings in which one model serves all targets, tested on each: `pooled` (all validation rows are
            one set) and `union` (each target chooses an equal share); for `multi_target_methods`, at the largest of
            `fractions`.
        workers: processes that compute gradients, choose or train at once, on a CPU.
        keep_models: whether trained weights stay on disk.
    """

    policy: dict[str, Any] | None = None
    full: bool = False
    method_sets: dict[str, list[str]] = field(default_factory=dict)
    data: DataSettings = field(default_factory=DataSettings)
    targets: list[str] = field(default_factory=lambda: ["logic", "number_theory", "words"])
    methods: list[str] = field(default_factory=lambda: [BASE, "random", "less", "g2is"])
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    variants: dict[str, Variant] = field(default_factory=dict)
    fractions: list[float] = field(default_factory=lambda: [0.01, 0.05])
    curve: list[float] = field(default_factory=list)
    curve_methods: list[str] = field(default_factory=list)
    multi_target: list[str] = field(default_factory=list)
    multi_target_methods: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    warmup: WarmupSettings = field(default_factory=WarmupSettings)
    gradients: GradientSettings = field(default_factory=GradientSettings)
    sft: SFTSettings = field(default_factory=SFTSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    workers: int = 1
    keep_models: bool = False

    def __post_init__(self) -> None:
        from encore import selection

        known = {BASE, *self.variants, *selection.names()}
        for name in self.variants:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in selection.names() or name == BASE:
                raise UserError(f"g2is.variants.{name}: give it a new name of small letters, digits and underscores")
            selection.method(self.variants[name].method)  # raises UserError, naming the methods there are
        for method in [*self.methods, *self.curve_methods, *self.multi_target_methods]:
            if method not in known:
                raise UserError(f"unknown selection method '{method}': choose from {', '.join(sorted(known))}")
        for name in ("curve_methods", "multi_target_methods"):
            for method in getattr(self, name):
                if method not in self.methods:
                    raise UserError(f"g2is.{name} names '{method}', which is not in g2is.methods: add it there")
        for name in ("fractions", "curve"):
            for fraction in getattr(self, name):
                if not 0 < fraction <= 1:
                    raise UserError(f"g2is.{name} holds {fraction}: it must be above 0 and at most 1")
        for name in ("fractions", "targets", "methods", "seeds"):
            listed = getattr(self, name)
            if not listed:
                raise UserError(f"g2is.{name} is empty: name at least one")
            if len(set(listed)) < len(listed):
                raise UserError(f"g2is.{name} names one twice: {', '.join(map(str, listed))}")
        for setting in self.multi_target:
            if setting not in MULTI_TARGET:
                raise UserError(f"g2is.multi_target names '{setting}': choose from {', '.join(MULTI_TARGET)}")
            if setting in self.targets:
                raise UserError(f"g2is.targets names '{setting}', which means all targets at once: rename it")
        if self.workers < 1:
            raise UserError(f"g2is.workers is {self.workers}: it must be at least 1")
        for seed in self.seeds:
            configuration.seed(str(seed))
        for method in self.method_sets.get("full_True", []) if self.full else []:
            if method not in self.methods:
                raise UserError(
                    f"g2is.full is true, and g2is.methods lacks {method}: compose both with `encore profile use "
                    "PROFILE g2is.full=true`, or set g2is.full: false"
                )

    def plugin(self, method: str) -> str | None:
        """The selection method behind an arm; None for the untrained base."""
        if method == BASE:
            return None
        return self.variants[method].method if method in self.variants else method

    def choices(self, method: str) -> dict[str, Any]:
        """The open choices of an arm."""
        return self.variants[method].parameters if method in self.variants else self.parameters.get(method, {})

    def label(self, method: str) -> str:
        """The arm's name in tables."""
        from encore import selection

        if method == BASE:
            return "Base"
        variant = self.variants.get(method)
        if variant is None:
            return selection.method(method).label
        told = ", ".join(f"{key} {value}" for key, value in variant.parameters.items())
        return variant.label or f"{selection.method(variant.method).label} ({told})"

    def cells(self, method: str) -> list[Cell]:
        """Every selection, training and test of an arm: of each target (or all at once), fraction and seed.

        The base chooses nothing and is nothing random, so it is tested once; `full` has one fraction, the whole.
        """
        plugin = self.plugin(method)
        if plugin is None:
            return [Cell(method, target, 0.0, self.seeds[0]) for target in self.targets]
        fractions = {*self.fractions, *(self.curve if method in self.curve_methods else [])}
        places = [(target, fraction) for fraction in sorted(fractions) for target in self.targets]
        if plugin == "full":
            places = [(target, 1.0) for target in self.targets]
        if method in self.multi_target_methods:
            places += [(setting, max(self.fractions)) for setting in self.multi_target]
        return [Cell(method, target, fraction, seed) for target, fraction in places for seed in self.seeds]

    def tested(self, target: str) -> list[str]:
        """The targets that a model chosen for `target` is tested on: itself, or all."""
        return self.targets if target in MULTI_TARGET else [target]


@dataclass(frozen=True)
class Cell:
    """One selection, and what is made of it. `target` is a target's name or one of `MULTI_TARGET`."""

    method: str
    target: str
    fraction: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.target}-{self.fraction:g}-{self.seed}"

    @property
    def selection(self) -> Path:
        """File of what was chosen, and why."""
        return RUNS / "select" / self.method / f"{self.name}.json"

    @property
    def out(self) -> Path:
        """Folder of the training and its test."""
        return RUNS / "train" / self.method / self.name


def settings() -> G2isSettings:
    """The checked section `g2is` of params.yaml."""
    return configuration.build(G2isSettings, configuration.read(["g2is"])["g2is"], "g2is")


def policy_of(params: Mapping[str, Any]) -> PolicySettings:
    """The policy of this paper: the section `policy` with what `g2is.policy` changes."""
    own = params["g2is"]["policy"] or {}
    return configuration.build(PolicySettings, {**params["policy"], **own}, "g2is.policy" if own else "policy")


def read_selection(cell: Cell) -> dict[str, Any]:
    """What `select.as_text` wrote: `skipped`, or `requested`, `parameters` and `picks`."""
    return json.loads(cell.selection.read_text(encoding="utf-8"))


def group(profile: str, target: str, method: str) -> dict[str, str]:
    """What a parent run in MLflow stands for: one method for one target, at one scale."""
    return {"profile": profile, "target": target, "method": method}
