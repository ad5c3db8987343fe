"""The hidden state that stands for a response, read from a forward pass that is made anyway.

Source: arXiv 2601.07208, appendix E.1 and Table 8: "extracted from the final hidden layer of the backbone LLM after
processing the full prompt-response sequence". Which token the paper does not say; the last one is the literal reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from encore.errors import UserError

Layer = Literal["first", "middle", "last"]
Pooling = Literal["last_token", "mean"]


class HiddenStates:
    """Reads hidden states off a model's forward passes.

    `first` and `middle` are the outputs of the first and of the middle block (rounded down, counting from 1), `last` is
    what the language model's head reads: the last block's output after the final norm.

    Raises UserError for a model whose blocks are not to be found.
    """

    def __init__(self, model: PreTrainedModel, layer: Layer, pooling: Pooling) -> None:
        self.module = _module(model, layer)
        self.pooling = pooling

    @contextmanager
    def read(self, attention_mask: Int[Tensor, "batch positions"]) -> Iterator[list[Float[Tensor, "batch hidden"]]]:
        """A list that gets one entry, [batch, hidden] in float32 and detached, for each forward pass in the context.

        `attention_mask` is 0 on padding, which may stand before and after a sequence.
        """
        found: list[Tensor] = []

        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            found.append(self._pooled(_states(output).detach(), attention_mask))

        handle = self.module.register_forward_hook(hook)
        try:
            yield found
        finally:
            handle.remove()

    def _pooled(
        self, states: Float[Tensor, "batch positions hidden"], attention_mask: Int[Tensor, "batch positions"]
    ) -> Float[Tensor, "batch hidden"]:
        if self.pooling == "mean":
            counted = attention_mask.float()
            return torch.einsum("bph,bp->bh", states.float(), counted) / counted.sum(dim=1, keepdim=True)
        positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        last = (attention_mask * positions).argmax(dim=1)
        return states[torch.arange(len(states), device=states.device), last].float()


def _states(output: Any) -> Tensor:
    """A backbone's output has a field, a block's output is a tensor or starts with one."""
    if isinstance(output, Tensor):
        return output
    found = getattr(output, "last_hidden_state", None)
    return output[0] if found is None else found


def _module(model: PreTrainedModel, layer: Layer) -> nn.Module:
    backbone = model.base_model
    if layer == "last":
        return backbone
    number = model.config.get_text_config().num_hidden_layers
    blocks = [child for child in backbone.children() if isinstance(child, nn.ModuleList) and len(child) == number]
    if len(blocks) != 1:
        raise UserError(f"rl.layer is '{layer}', and {type(model).__name__} shows no list of its blocks: use last")
    return blocks[0][0 if layer == "first" else max(1, number // 2) - 1]
