"""The rows of benchmarks/gradients.py: which methods are measured beside each other, for norms and for features."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradients_peers as peers
import torch
from gradients_peers import Examples, Run
from torch import Tensor, nn

from encore import gradients
from encore.gradients.layers import adapter_layers, find_layers


@dataclass(frozen=True)
class Method:
    """One row: what runs, and on how many examples (slow peers get a sample, and are scaled)."""

    label: str
    run: Callable[[Examples], Any]
    share: float = 1.0
    once: bool = False
    """For what takes minutes: one timed run, and no other before it."""


def norms_methods(model: nn.Module, options: argparse.Namespace, share: float) -> list[Method]:
    layers = find_layers(model)
    weights = [layer.module.weight for layer in layers]
    names = {name for name, value in model.named_parameters() if any(value is weight for weight in weights)}
    most = options.max_tokens
    rows = [
        Method("encore norms", lambda part: gradients.norms(model, gradients.batches(part, max_tokens=most))),
        Method("(a) training, forward and backward", training(model, most)),
        Method(
            "(b) one example at a time, autograd",
            peers.one_by_one(model, weights, lambda found: [value.norm().item() for value in found]),
        ),
        Method(
            "(c) torch.func vmap",
            peers.vmapped(model, names, most, lambda found: [value.flatten(1).norm(dim=1) for value in found.values()]),
            share,
        ),
    ]
    if peers.installed("bergson"):
        whole = when_run(lambda: peers.bergson(model, layers, None, most, "per_module"))
        rows.append(Method("(d) Bergson, norms of what its hooks give", whole, share))
    return rows


def features_methods(model: nn.Module, options: argparse.Namespace, share: float) -> list[Method]:
    layers = adapter_layers(model)
    weights = [layer.module.weight for layer in layers]
    names = {name for name, value in model.named_parameters() if any(value is weight for weight in weights)}
    coordinates, dim, most = sum(weight.numel() for weight in weights), options.dim, options.max_tokens
    sparse, dense = gradients.Sparse(dim), gradients.Rademacher(dim)
    state = {
        layer.name: {
            "exp_avg": torch.randn(layer.shape) * 1e-4,
            "exp_avg_sq": torch.rand(layer.shape) * 1e-8,
            "step": torch.tensor(100.0),
        }
        for layer in layers
    }

    def project(found: dict[str, Tensor]) -> Tensor:
        values = torch.cat([value.flatten(1) for value in found.values()], 1).float()
        total = values.new_zeros(len(values), dim)
        sparse.add(total, values, 0)
        return total

    def ours(projector: gradients.Projector, optimizer: dict[str, Any] | None = None) -> Run:
        return lambda part: gradients.features(model, gradients.batches(part, max_tokens=most), projector, optimizer)

    loop = peers.one_by_one(model, weights, peers.BlockwiseDense(dim))
    rows = [
        Method("encore features, sparse", ours(sparse)),
        Method("encore features, sparse, Adam", ours(sparse, state)),
        Method("encore features, Rademacher", ours(dense), share),
        Method("(a) LoRA training, forward and backward", training(model, most)),
        Method("(b) LESS loop, blockwise dense", loop, share, once=coordinates * dim > 1 << 32),
    ]
    if coordinates * dim * 4 < options.dense_gib * 2**30:
        kept = peers.KeptDense(dim)
        rows.append(Method("(b') LESS loop, dense matrix kept", peers.one_by_one(model, weights, kept), share))
    rows.append(Method("(c) torch.func vmap, sparse", peers.vmapped(model, names, most, project), share))
    side = round((dim / len(layers)) ** 0.5)
    each = f"{side} x {side} a matrix, {side * side * len(layers)} in all"
    if peers.installed("bergson"):
        two_sided = when_run(lambda: peers.bergson(model, layers, dim, most, "per_module"))
        whole = when_run(lambda: peers.bergson(model, layers, dim, most, "global"))
        rows.append(Method(f"(d) Bergson, {each}", two_sided))
        rows.append(Method("(d) Bergson, one projection of all", whole, share))
    if peers.installed("dattri"):
        rows.append(Method(f"(d) dattri LoGra, {each}", when_run(lambda: peers.dattri(model, layers, dim, most))))
    if peers.installed("trak"):
        rows.append(Method("(d) TRAK", when_run(lambda: peers.trak(model, sorted(names), dim, most)), share))
    return rows


def training(model: nn.Module, max_tokens: int) -> Callable[[Examples], None]:
    """(a): what a training step does, but for the optimizer."""

    def run(examples: Examples) -> None:
        model.train()
        device = next(model.parameters()).device
        for batch in gradients.batches(examples, max_tokens=max_tokens):
            labels = torch.where(batch["response_mask"], batch["input_ids"], -100)
            inputs = {
                "input_ids": batch["input_ids"],
                "attention_mask": batch["attention_mask"].long(),
                "labels": labels,
            }
            model(**{key: value.to(device) for key, value in inputs.items()}, use_cache=False).loss.backward()
            model.zero_grad()

    return run


def when_run(make: Callable[[], Run]) -> Run:
    """A peer that is set up on its first, untimed run, so that one that cannot be set up is a row that failed."""
    made: list[Run] = []

    def run(part: Examples) -> Any:
        if not made:
            made.append(make())
        return made[0](part)

    return run
