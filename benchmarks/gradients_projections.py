"""What each way to project gradients costs, and how far off the cosines are, for benchmarks/gradients.py."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from gradients_peers import Examples
from torch import Tensor, nn

from encore import gradients
from encore.gradients.layers import adapter_layers


def projection_choice(model: nn.Module, examples: Examples, dim: int) -> None:
    """Error of cosines between real LoRA gradients and seconds a gradient, of each way to project them."""
    layers = adapter_layers(model)
    whole = gradients.features(model, gradients.batches(examples, max_tokens=1024), gradients.Whole())
    exact = F.normalize(whole) @ F.normalize(whole).T
    side = int((dim / len(layers)) ** 0.5)
    sides = [tuple(torch.randn(n, side) / side**0.5 for n in layer.shape) for layer in layers]

    def two_sided(values: Tensor) -> Tensor:
        """As Bergson's: random matrices on both sides of every module's gradient, a square of the width for each."""
        columns, start = [], 0
        for layer, (left, right) in zip(layers, sides, strict=True):
            outputs, inputs = layer.shape
            part = values[:, start : start + outputs * inputs].view(-1, outputs, inputs)
            columns.append((left.T @ part @ right).flatten(1))
            start += outputs * inputs
        return torch.cat(columns, 1)

    def one_sided(projector: gradients.Projector) -> Callable[[Tensor], Tensor]:
        def project(values: Tensor) -> Tensor:
            total = values.new_zeros(len(values), dim)
            projector.add(total, values, 0)
            return total

        return project

    ways = {
        "sparse, 4 a coordinate": one_sided(gradients.Sparse(dim)),
        "sparse, 1 a coordinate": one_sided(gradients.Sparse(dim, nonzeros=1)),
        "Rademacher": one_sided(gradients.Rademacher(dim)),
        f"two-sided, {side} x {side} a matrix": two_sided,
    }
    print(f"\n### projections of {whole.shape[1]} coordinates to {dim}, {len(whole)} gradients at once\n")
    print("| projection | ms a gradient | error of cosines, root mean square | largest |\n|---|---|---|---|")
    apart = ~torch.eye(len(whole), dtype=torch.bool)
    for name, project in ways.items():
        start = time.process_time()
        found = F.normalize(project(whole.clone()))
        milliseconds = (time.process_time() - start) / len(whole) * 1000
        errors = (found @ found.T - exact)[apart].abs()
        print(f"| {name} | {milliseconds:.2f} | {errors.square().mean().sqrt():.4f} | {errors.max():.4f} |")
