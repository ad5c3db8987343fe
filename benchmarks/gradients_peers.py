r"""What others do for per-example gradients, each as a function of examples, for benchmarks/gradients.py.

The loop of LESS and torch.func are written out here. Bergson, dattri and TRAK are used as installed; none is a
dependency of the project, and none needs to be changed to run beside it, from a folder of its own:

    pip install --no-deps --target PEERS bergson==2.5.1 ml_dtypes natsort petname simple-parsing docstring-parser \
        torchopt optree dattri==0.3.0 traker==0.3.2
    PYTHONPATH=PEERS python benchmarks/gradients.py

(`--no-deps`, because Bergson asks for torchvision, torchaudio and bitsandbytes and dattri for pretty_midi, of which the
code used here needs none, and pip might change torch for them.)
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from encore import gradients
from encore.gradients.layers import Layer

Examples = list[tuple[str, Tensor, Tensor]]
Run = Callable[[Examples], Any]

PEERS = {"bergson": "bergson", "dattri": "dattri", "trak": "traker"}
"""Module, and its name on PyPI."""
MOST_NUMBERS = 1 << 29
"""Per-example gradients that exist at once in methods that form them: 2 GiB in float32, and copies of it."""


def installed(module: str) -> str | None:
    """The version of a peer, or None where it is not installed."""
    try:
        return version(PEERS[module]) if importlib.util.find_spec(module) else None
    except PackageNotFoundError:
        return None


def one_by_one(model: nn.Module, weights: list[nn.Parameter], then: Callable[[list[Tensor]], Any]) -> Run:
    """(b): the public loop, batch of one; `then` gets the gradients of each example, and at the end an empty list."""
    device = next(model.parameters()).device

    def run(examples: Examples) -> None:
        model.eval()
        for _, tokens, response in examples:
            labels = torch.where(response, tokens, -100)
            model(input_ids=tokens[None].to(device), labels=labels[None].to(device), use_cache=False).loss.backward()
            then([weight.grad for weight in weights if weight.grad is not None])
            model.zero_grad()
        then([])

    return run


class BlockwiseDense:
    """TRAK's BasicProjector as LESS calls it: 16 gradients and 128 columns at a time, made anew at every call."""

    def __init__(self, dim: int):
        self.dim = dim
        self.waiting: list[Tensor] = []

    def __call__(self, gradient: list[Tensor]) -> None:
        if gradient:
            self.waiting.append(torch.cat([part.flatten() for part in gradient]).float())
        if self.waiting and (len(self.waiting) == 16 or not gradient):
            stacked = torch.stack(self.waiting)
            self.waiting.clear()
            self.project(stacked)

    def project(self, stacked: Tensor) -> Tensor:
        columns = []
        for block in range(self.dim // 128):
            generator = torch.Generator(stacked.device).manual_seed(1000 * block)
            signs = torch.empty(stacked.shape[1], 128, device=stacked.device).bernoulli_(0.5, generator=generator)
            columns.append(stacked @ (signs * 2 - 1))
        return torch.cat(columns, 1)


class KeptDense(BlockwiseDense):
    """The same with the whole matrix in memory."""

    matrix: Tensor | None = None

    def project(self, stacked: Tensor) -> Tensor:
        if self.matrix is None:
            self.matrix = torch.empty(stacked.shape[1], self.dim, device=stacked.device).bernoulli_(0.5) * 2 - 1
        return stacked @ self.matrix


def vmapped(model: nn.Module, names: set[str], max_tokens: int, then: Callable[[dict[str, Tensor]], Any]) -> Run:
    """(c): torch.func, per-example gradients of the parameters `names`, formed in full."""

    def run(examples: Examples) -> None:
        model.eval()
        wanted = {name: value for name, value in model.named_parameters() if name in names}
        fixed = {name: value for name, value in model.named_parameters() if name not in names}

        def loss(parameters: dict[str, Tensor], tokens: Tensor, scored: Tensor) -> Tensor:
            return functional_loss(model, {**fixed, **parameters}, tokens, scored)

        numbers = sum(value.numel() for value in wanted.values())
        with unfused_attention(model):
            for tokens, scored in padded(model, examples, max_tokens, numbers):
                then(vmap(grad(loss), in_dims=(None, 0, 0))(wanted, tokens, scored))

    return run


def bergson(model: nn.Module, layers: list[Layer], dim: int | None, max_tokens: int, target: str) -> Run:
    """(d): Bergson's collector. `target` "global" sums all modules into `dim` numbers, "per_module" projects each on
    both sides, to `dim` in all; without `dim`, the norm of each module's gradient, formed in full, as it arrives."""
    from bergson import GradientCollector, GradientProcessor, IndexConfig
    from datasets import Dataset

    names = {name for name, module in model.named_modules() if any(module is layer.module for layer in layers)}
    width = dim if dim is None or target == "global" else round((dim / len(layers)) ** 0.5)
    processor = GradientProcessor(projection_dim=width, projection_target=target)  # keeps its matrices between runs

    class Norms(GradientCollector):
        def backward_hook(self, module: nn.Module, g: Tensor) -> None:
            self.mod_grads[module._name] = self._compute_gradient(module, g).norm(dim=1)

    def run(examples: Examples) -> list[dict[str, Tensor]]:
        model.eval()
        data = Dataset.from_dict({"length": [len(tokens) for _, tokens, _ in examples]})
        config = IndexConfig(run_path="unused", projection_dim=width or 0, projection_target=target)
        collector = (GradientCollector if width else Norms)(
            model=model, target_modules=names, processor=processor, data=data, cfg=config, skip_index=True
        )
        found = []
        numbers = max(layer.shape[0] * layer.shape[1] for layer in layers)
        for tokens, scored in padded(model, examples, max_tokens, numbers):
            with collector.with_batch(None):
                mean_losses(model, tokens, scored).sum().backward()
            model.zero_grad()
            found.append({name: value.cpu() for name, value in collector.mod_grads.items()})
            collector.mod_grads.clear()
        return found

    return run


def dattri(model: nn.Module, layers: list[Layer], dim: int, max_tokens: int) -> Run:
    """(d): dattri's LoGra, which projects each module's activations and gradients, to `dim` numbers in all."""
    from dattri.algorithm.logra import LoGraAttributor
    from dattri.task import AttributionTask
    from torch.utils.data import DataLoader

    logging.disable(logging.WARNING)  # its loggers tell every step, and set their own level
    names = [name for name, module in model.named_modules() if any(module is layer.module for layer in layers)]
    device = str(next(model.parameters()).device)

    def loss(network: nn.Module, batch: dict[str, Tensor], _: str) -> Tensor:
        return mean_losses(network, batch["input_ids"], batch["scored"]).sum()

    class Inputs(dict[str, Tensor]):
        """A batch; dattri's trial forward pass, which gives the model all of `items()`, is spared what is no input."""

        def items(self) -> Any:
            return {"input_ids": self["input_ids"]}.items()

    task = AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict())
    folder = tempfile.TemporaryDirectory()
    square = round((dim / len(layers)) ** 0.5) ** 2
    attributor = LoGraAttributor(
        task, names, hessian="Identity", device=device, proj_dim=square, offload="none", cache_dir=folder.name
    )

    def run(examples: Examples) -> Any:
        assert folder  # lives as long as this function
        batches = [Inputs(input_ids=tokens, scored=scored) for tokens, scored in padded(model, examples, max_tokens, 1)]
        attributor.cache(DataLoader(batches, batch_size=1, collate_fn=lambda one: one[0]))
        return attributor.offload_manager

    return run


def trak(model: nn.Module, names: list[str], dim: int, max_tokens: int) -> Run:
    """(d): TRAK's featurize, with the projector that it chooses on its own."""
    from trak import TRAKer
    from trak.modelout_functions import AbstractModelOutput

    class Loss(AbstractModelOutput):
        def __init__(self) -> None:
            pass

        def get_output(self, network: nn.Module, weights: Any, buffers: Any, tokens: Tensor, scored: Tensor) -> Tensor:
            return functional_loss(network, {**weights, **buffers}, tokens, scored)

        def get_out_to_loss_grad(self, network: nn.Module, weights: Any, buffers: Any, batch: Any) -> Tensor:
            return torch.ones(len(batch[0]), 1)

    numbers = sum(value.numel() for value in model.parameters())  # it takes all gradients and then drops some

    def run(examples: Examples) -> Tensor:
        with tempfile.TemporaryDirectory() as folder, unfused_attention(model):
            device = next(model.parameters()).device
            traker = TRAKer(
                model=model, task=Loss(), train_set_size=len(examples), save_dir=folder, device=str(device),
                proj_dim=dim, grad_wrt=names, use_half_precision=False, logging_level=40,
            )  # fmt: skip
            traker.load_checkpoint(model.state_dict(), model_id=0)
            for batch in padded(model, examples, max_tokens, numbers):
                traker.featurize(batch, num_samples=len(batch[0]))
            return torch.tensor(traker.saver.current_store["grads"][:])

    return run


def padded(model: nn.Module, examples: Examples, max_tokens: int, numbers: int) -> list[tuple[Tensor, Tensor]]:
    """Tokens and response masks of Encore's own batches, cut so that `numbers` an example stay below MOST_NUMBERS."""
    device, most = next(model.parameters()).device, max(1, MOST_NUMBERS // numbers)
    return [
        (tokens.to(device), scored.to(device))
        for batch in gradients.batches(examples, max_tokens=max_tokens)
        for tokens, scored in zip(
            batch["input_ids"].split(most), batch["response_mask"].split(most), strict=True
        )
    ]  # fmt: skip


def mean_losses(model: nn.Module, tokens: Tensor, scored: Tensor) -> Tensor:
    """Mean response-token loss of each right-padded example."""
    logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
    losses = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    return (losses * scored[:, 1:]).sum(1) / scored[:, 1:].sum(1)


def functional_loss(model: nn.Module, parameters: dict[str, Tensor], tokens: Tensor, scored: Tensor) -> Tensor:
    """Mean response-token loss of one example, for torch.func; the mask is made here, as vmap cannot follow theirs."""
    n, dtype = len(tokens), next(model.parameters()).dtype
    mask = torch.full((n, n), torch.finfo(dtype).min, device=tokens.device, dtype=dtype).triu(1)[None, None]
    inputs = {"input_ids": tokens[None], "attention_mask": mask, "use_cache": False}
    logits = functional_call(model, parameters, (), inputs).logits[0, :-1].float()
    losses = F.cross_entropy(logits, tokens[1:], reduction="none")
    return (losses * scored[1:]).sum() / scored[1:].sum()


class unfused_attention:
    """Eager attention for a while: vmap has no rule for the fused kernels."""

    def __init__(self, model: nn.Module):
        self.config: Any = getattr(model, "config", SimpleNamespace())

    def __enter__(self) -> None:
        self.before = self.config._attn_implementation
        self.config._attn_implementation = "eager"

    def __exit__(self, *_: object) -> None:
        self.config._attn_implementation = self.before


def why_absent(module: str) -> str:
    """How to get a peer that is not installed."""
    return f"not installed: see the head of {Path(__file__).name} for how to add {PEERS[module]} without changing torch"
