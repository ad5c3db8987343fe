"""Attention for packed rows: examples lie behind one another in one row, and each attends to itself alone.

On a GPU that has it, one fused kernel takes the whole row (`torch.nn.attention.varlen`). Elsewhere each example is one
call of `scaled_dot_product_attention` on views of the row: nothing is padded and nothing is copied. docs/performance.md
says what that gains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from encore.errors import UserError

NAME = "encore_packed"  # among transformers' attention implementations
UNPACKED = "set sft.packing: false"
# What some architectures ask of attention and these kernels have not.
UNSUPPORTED = ("softcap", "s_aux", "position_bias", "cache")


@dataclass(frozen=True)
class Boundaries:
    """Where the examples of a row lie; made once a forward, and handed to every layer.

    `cumulative` holds the start of each example and the end of the last, on the row's device.
    """

    lengths: tuple[int, ...]
    cumulative: Int[Tensor, " examples+1"]

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Boundaries:
        ends = torch.tensor([0, *lengths]).cumsum(0)
        return cls(tuple(lengths), ends.to(device=device, dtype=torch.int32, non_blocking=True))


def packed_attention(
    module: torch.nn.Module,
    query: Float[Tensor, "1 heads tokens width"],
    key: Float[Tensor, "1 groups tokens width"],
    value: Float[Tensor, "1 groups tokens width"],
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    boundaries: Boundaries | None = None,
    **asked: Any,
) -> tuple[Float[Tensor, "1 tokens heads width"], None]:
    """Causal attention within each example of the row, in the form that transformers' models call.

    Heads of `query` share the heads of `key` and `value` in groups. Raises UserError for a model that does not hand the
    boundaries on, or asks for what is not supported here.
    """
    named = sorted(name for name in UNSUPPORTED if asked.get(name) is not None)
    if named:
        raise UserError(f"the attention of this model uses {named[0]}, which packed rows cannot: {UNPACKED}")
    if asked.get("is_causal") is False or not getattr(module, "is_causal", True):
        raise UserError(f"the attention of this model is not causal, which packed rows must be: {UNPACKED}")
    if boundaries is None or attention_mask is not None:
        raise UserError(f"this model does not tell its attention where the examples of a packed row lie: {UNPACKED}")
    if dropout == 0 and _has_fused_kernel(query, value):
        return _fused(query, key, value, boundaries, scaling, sliding_window)[None], None
    parts = []
    rows = (tensor.split(boundaries.lengths, dim=2) for tensor in (query, key, value))
    for query_part, key_part, value_part in zip(*rows, strict=True):
        window = _window(query_part, sliding_window)
        attended = scaled_dot_product_attention(
            query_part,
            key_part,
            value_part,
            attn_mask=window,
            dropout_p=dropout,
            is_causal=window is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        parts.append(attended.transpose(1, 2))
    return torch.cat(parts, dim=1), None


AttentionInterface.register(NAME, packed_attention)  # without a mask function: transformers then builds no mask


def _window(query: Tensor, sliding_window: int | None) -> Tensor | None:
    """Which tokens each token sees, where an example is longer than the model's window; else None."""
    length = query.shape[2]
    if sliding_window is None or length <= sliding_window:
        return None
    places = torch.arange(length, device=query.device)
    distance = places[:, None] - places
    return (distance >= 0) & (distance < sliding_window)


def _compute_dtype(tensor: Tensor) -> torch.dtype:
    """What autocast would make of `tensor` before a matrix product; it does not know the fused kernel."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


def _has_fused_kernel(query: Tensor, value: Tensor) -> bool:
    """FlashAttention's variable-length kernel: 16 bits, from compute capability 8.0, heads of up to 256 numbers."""
    width = query.shape[-1]
    return (
        query.is_cuda
        and _compute_dtype(query) in (torch.bfloat16, torch.float16)
        and width == value.shape[-1]
        and width % 8 == 0
        and width <= 256
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: Boundaries,
    scaling: float | None,
    sliding_window: int | None,
) -> Float[Tensor, "tokens heads width"]:
    from torch.nn.attention.varlen import varlen_attn

    dtype = _compute_dtype(query)
    query, key, value = (tensor[0].transpose(0, 1).to(dtype) for tensor in (query, key, value))
    longest = max(boundaries.lengths)
    attended = varlen_attn(
        query,
        key,
        value,
        cu_seq_q=boundaries.cumulative,
        cu_seq_k=boundaries.cumulative,
        max_q=longest,
        max_k=longest,
        scale=scaling,
        # (left, right) as FlashAttention counts them: tokens to either side of a token's own place, -1 for all.
        window_size=(-1, 0) if sliding_window is None else (sliding_window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(attended, Tensor)  # alone, as no auxiliary output was asked for
    return attended


@contextmanager
def attending_within_examples(model: PreTrainedModel) -> Iterator[None]:
    """While open, `model` takes packed rows, and only those; afterwards it attends as before.

    A step has to be inside as a whole: gradient checkpointing calls attention again in the backward pass. Raises
    UserError for a model whose attention cannot be exchanged.
    """
    if not model._can_set_attn_implementation():
        raise UserError(
            f"{type(model).__name__} does not let its attention be exchanged, as packed rows need: {UNPACKED}"
        )
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
