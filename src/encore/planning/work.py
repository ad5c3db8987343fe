"""What a cell of a stage computes, and how long a device takes for it: by measured rates, else by named assumptions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from encore.planning.architectures import Backbone, backbone
from encore.planning.memory import BYTES, cache_bytes
from encore.planning.settings import PlanningSettings
from encore.policy import PolicySettings
from encore.tracking.flops import flops

Kind = Literal["train", "update", "probe", "features", "score", "read", "generate"]
MEASURED = Path(__file__).parent / "measured.yaml"
STEP_TOKENS = 12.0
"""Tokens generated that take a CPU as long as a measured environment step: an assumption, for answers without steps."""


@dataclass(frozen=True)
class Work:
    """One phase of a cell.

    Attributes:
        phase: as the costs of a run name it.
        kind: `score` is a forward pass alone, `read` one over a prompt that is then answered.
        tokens: that the phase computes: trained on, read, or generated.
        sequence: mean length of the sequences, for attention.
        trainable: part of the weights that get gradients.
        batch: sequences that are generated at once.
        steps: environment steps behind generated tokens; 0: none.
    """

    phase: str
    kind: Kind
    tokens: float
    sequence: float = 0.0
    trainable: float = 1.0
    batch: float = 1.0
    steps: float = 0.0


@dataclass(frozen=True)
class Spent:
    """What a work takes: floating-point operations, seconds of one device, and where the rate is from."""

    flops: float
    device_s: float
    basis: str


@cache
def measured() -> dict[str, dict[str, Any]]:
    """What was measured, by phase."""
    return {line["phase"]: line for line in yaml.safe_load(MEASURED.read_text(encoding="utf-8"))}


@cache
def _measured_model() -> Backbone | None:
    """The model of the measurements; None where this checkout does not hold it."""
    return backbone(PolicySettings(source="base/tiny")) if Path("base/tiny").is_dir() else None


def operations(work: Work, model: Backbone) -> float:
    """Floating-point operations. Norms and features read activations' gradients only: 2/3 of a training step."""
    training = work.kind in ("train", "update", "probe", "features")
    counted = flops(model.shape, int(work.tokens), training, work.sequence or None, work.trainable if training else 1.0)
    return counted * 2 / 3 if work.kind in ("probe", "features") else counted


def spend(work: Work, model: Backbone, policy: PolicySettings, planning: PlanningSettings) -> Spent:
    """Operations and seconds of one device: a thread of a CPU if the policy is there, else a GPU of `planning`."""
    counted = operations(work, model)
    if policy.device == "cpu":
        return _on_cpu(work, counted, model)
    peak = planning.peak_tflops * 1e12
    if work.kind == "generate":
        of_value = BYTES[policy.dtype]
        a_step = model.parameters * of_value + work.batch * work.sequence * cache_bytes(model.shape, of_value)
        memory_s = work.tokens / work.batch * a_step / (planning.bandwidth_gb_s * 1e9 * planning.bandwidth_share)
        basis = f"assumed: {planning.bandwidth_share:.0%} of the memory's bandwidth, {work.batch:.0f} at once"
        return Spent(counted, max(memory_s, counted / (peak * planning.mfu_read)), basis)
    share = planning.mfu_read if work.kind in ("read", "score") else planning.mfu_train
    return Spent(counted, counted / (peak * share), f"assumed: MFU {share:.0%}")


def _on_cpu(work: Work, counted: float, model: Backbone) -> Spent:
    """Measured rates, scaled by the operations of a token."""
    reference = _measured_model()
    if reference is None:
        return Spent(counted, float("nan"), "no estimate: base/tiny, on which rates were measured, is not here")
    if work.kind == "read":
        return Spent(counted, 0.0, "in the rate of generating")  # the measured rollout reads its observations
    ratio = model.shape.matmul_parameters / reference.shape.matmul_parameters
    if work.kind == "generate":
        line = measured()["rollout"]
        steps = work.steps or work.tokens / STEP_TOKENS
        how = "measured" if work.steps else f"assumed: {STEP_TOKENS:.0f} tokens as long as a step, measured"
        return Spent(counted, steps / line["steps_s"] * ratio, f"{how}: {line['steps_s']} steps/s, {line['machine']}")
    if work.kind == "score":
        line = measured()["train"]
        seconds = work.tokens / line["tokens_s"] * ratio / 3
        return Spent(counted, seconds, f"assumed: a third of training, measured: {line['tokens_s']} tokens/s")
    line = measured()[work.kind]
    rate = f"measured: {line['tokens_s']} tokens/s, {line['machine']}"
    return Spent(counted, work.tokens / line["tokens_s"] * ratio, rate)
