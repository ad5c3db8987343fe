"""The step that Adam would take with an example's gradient, from the state that a warm-up training left behind.

Two readings of LESS (arXiv 2402.04333), section 3.1: `paper`, the formula there, and `less_code`, what its public code
computes (`obtain_gradients_with_adam`). They differ in more than rounding: with second moments near 1e-14 the epsilon
inside the root makes `less_code` nearly proportional to the plain momentum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from encore.errors import UserError
from encore.gradients.layers import Layer

Adam = Literal["less_code", "paper"]
State = Mapping[str, Any] | torch.optim.Optimizer | str | Path


@dataclass(frozen=True)
class Moments:
    """Adam's memory of one weight matrix after `step` updates, flattened row by row."""

    exp_avg: Float[Tensor, " parameters"]
    exp_avg_sq: Float[Tensor, " parameters"]
    step: int
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def adjust(
        self, gradients: Float[Tensor, "examples parameters"], reading: Adam
    ) -> Float[Tensor, "examples parameters"]:
        """What Adam would divide the learning rate's step by, were this its next gradient; overwrites `gradients`.

        With m' = β₁m + (1 − β₁)g and v' = β₂v + (1 − β₂)g²:
            less_code: m' / √(v' + ε)
            paper: (m' / (1 − β₁ᵗ⁺¹)) / (√(v' / (1 − β₂ᵗ⁺¹)) + ε)
        """
        first, second = self.betas
        exp_avg, exp_avg_sq = self.exp_avg.to(gradients.device), self.exp_avg_sq.to(gradients.device)
        scale = gradients.square().mul_(1 - second).add_(exp_avg_sq, alpha=second)
        moved = gradients.mul_(1 - first).add_(exp_avg, alpha=first)
        if reading == "less_code":
            return moved.div_(scale.add_(self.epsilon).sqrt_())
        scale.div_(1 - second ** (self.step + 1)).sqrt_().add_(self.epsilon)
        return moved.div_(1 - first ** (self.step + 1)).div_(scale)


def read_moments(state: State, model: nn.Module, layers: Sequence[Layer]) -> list[Moments]:
    """Adam's memory of each of `layers`, whatever form it was kept in.

    Args:
        state: an optimizer, or its `state_dict()`, whose parameters are numbered as `model` lists its trainable ones
            (as transformers saves it); or a mapping by name of `exp_avg`, `exp_avg_sq`, `step`, or flat as in
            `exp_avg.<name>`; or the path of one: `optimizer.pt`, or safetensors with flat names. Names may keep the
            wrappers of an adapter: `base_model.model.`, `.default.weight`.

    Raises:
        UserError: no such file or form; other names or shapes than the adapter of `model` has: the state is of another
            adapter; a moment that no training gives (non-finite, or a negative second moment).
    """
    entries, settings = _entries(state, model)
    wanted = {layer.name: layer for layer in layers}
    missing, foreign = sorted(wanted.keys() - entries.keys()), sorted(entries.keys() - wanted.keys())
    if missing or foreign:
        what = f"lacks {missing[0]}" if missing else f"has {foreign[0]}, which the model has not"
        count = len(missing) or len(foreign)
        raise UserError(
            f"the optimizer state is of another adapter: it {what} ({count} such): pass the one saved with it"
        )
    return [_moments(layer, entries[layer.name], settings) for layer in layers]


def _moments(layer: Layer, entry: Mapping[str, Any], settings: Mapping[str, Any]) -> Moments:
    tensors = {}
    for key in ("exp_avg", "exp_avg_sq"):
        tensor = entry[key].detach().float()
        if tuple(tensor.shape) != layer.shape:
            shapes = f"{key} of {layer.name} is {list(tensor.shape)}, the matrix {list(layer.shape)}"
            raise UserError(f"the optimizer state is of another adapter: {shapes}")
        if not bool(torch.isfinite(tensor).all()) or (key == "exp_avg_sq" and bool((tensor < 0).any())):
            raise UserError(
                f"the optimizer state is broken: {key} of {layer.name} holds numbers that no training gives"
            )
        tensors[key] = tensor.flatten()
    return Moments(**tensors, step=int(entry["step"]), **settings)


def _entries(state: State, model: nn.Module) -> tuple[dict[str, Mapping[str, Any]], dict[str, Any]]:
    """Entries by plain name of the matrix, and the optimizer's settings where the state tells them."""
    if isinstance(state, str | Path):
        state = _load(Path(state))
    if isinstance(state, torch.optim.Optimizer):
        state = state.state_dict()
    settings: dict[str, Any] = {}
    entries: dict[Any, Any]
    if "state" in state and "param_groups" in state:
        group = state["param_groups"][0]
        if "betas" in group:
            settings = {"betas": tuple(group["betas"]), "epsilon": group["eps"]}
        entries = dict(state["state"])
        trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        if not trainable:  # an adapter loaded for inference is frozen, but was trained in this order
            trainable = [name for name, _ in model.named_parameters() if ".lora_" in name]
        if entries and all(isinstance(key, int) for key in entries):
            if sorted(entries) != list(range(len(trainable))):
                counts = f"it holds {len(entries)} parameters, the model trains {len(trainable)}"
                raise UserError(f"the optimizer state is of another adapter: {counts}: pass the one saved with it")
            entries = {trainable[number]: entry for number, entry in entries.items()}
    elif all(isinstance(value, Tensor) for value in state.values()):
        entries = {}
        for key, tensor in state.items():
            kind, _, name = key.partition(".")
            entries.setdefault(name, {})[kind] = tensor
    else:
        entries = dict(state)
    for name, entry in entries.items():
        if not isinstance(entry, Mapping) or not {"exp_avg", "exp_avg_sq", "step"} <= entry.keys():
            raise UserError(f"the optimizer state has no exp_avg, exp_avg_sq and step of {name}: was it Adam's?")
    return {_plain(str(name)): entry for name, entry in entries.items()}, settings


def _load(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        raise UserError(f"no optimizer state at {path}")
    try:
        return (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, LookupError, ValueError) as error:
        raise UserError(f"{path} cannot be read as an optimizer state: {error}".splitlines()[0]) from error


def _plain(name: str) -> str:
    """`model.layers.0.self_attn.q_proj.lora_A`, without the wrappers of PEFT around it."""
    name = re.sub(r"^(module\.)?(base_model\.model\.)+", "", name)
    return re.sub(r"(\.lora_[AB])(\.[^.]+)?\.weight$", r"\1", name)
