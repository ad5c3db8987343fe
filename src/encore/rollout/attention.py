"""A cache of keys and values by slot, and the attention that reads it in place.

Every row of a rollout owns a slot, and its token number `p` lies in column `p` of it. So there are no gaps, a query at
position `p` sees columns 0 to `p`, a row is shortened by forgetting its length, and a slot is reused by starting over.

The model runs over the new tokens of all rows as one flat sequence, without padding; only attention knows rows. Query
heads that share a key-value head are queries of one attention over it: keys and values are never repeated or copied.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from encore.rollout import memory

NAME = "encore_slots"
MAX_RUNS = 8  # calls of attention for the rows that decode one token, per layer and step


@dataclass(frozen=True)
class Group:
    """Rows whose attention is one call: `queries` flat tokens a row, against the first `width` columns of its slot."""

    slots: slice | Int[Tensor, " rows"]  # a slice is read in place, an index copies
    tokens: Int[Tensor, "rows queries"] | slice  # places in the flat sequence; a slice if they follow one another
    positions: Int[Tensor, "rows queries"]
    width: int
    rows: int
    queries: int


@dataclass
class Step:
    """The rows and places of the flat tokens of one forward pass."""

    slots: Int[Tensor, " tokens"]
    positions: Int[Tensor, " tokens"]
    groups: list[Group]
    columns: int  # that any slot needs
    dtype: torch.dtype
    masks: dict[tuple[int, int | None, int], Tensor | None] = field(default_factory=dict)

    def mask(self, number: int, window: int | None, heads_a_group: int) -> Tensor | None:
        """0 where a query of a group sees a column, else -inf, [rows, 1, heads * queries, columns]; None: all seen."""
        key = (number, window, heads_a_group)
        if key not in self.masks:
            group = self.groups[number]
            if group.rows == group.queries == 1 and window is None:
                self.masks[key] = None  # the width is the row's own
            else:
                columns = torch.arange(group.width, device=self.positions.device)
                places = group.positions[:, None, :, None]
                seen = columns <= places
                if window is not None:
                    seen = seen & (columns > places - window)
                # What is added to the scores; made once, because attention would make it of booleans in every layer.
                added = torch.zeros(seen.shape, dtype=self.dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
                self.masks[key] = added if group.queries == 1 else added.repeat(1, 1, heads_a_group, 1)
        return self.masks[key]


class SlotCache:
    """Keys and values of all layers, each [slots, key-value heads, columns, head width].

    Columns grow by half, to `most` (more only if a step needs them). Raises MemoryError where a CPU's memory is full.
    """

    def __init__(self, slots: int, most: int) -> None:
        self.slots, self.most = slots, most
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def write(
        self,
        layer: int,
        step: Step,
        keys: Float[Tensor, "heads tokens width"],
        values: Float[Tensor, "heads tokens width"],
    ) -> tuple[Tensor, Tensor]:
        """Puts a step's keys and values in their places; returns the layer's whole keys and values."""
        held = self.keys.get(layer)
        columns = 0 if held is None else held.shape[2]
        if columns < step.columns:
            columns = max(step.columns, min(self.most, max(step.columns + 32, columns * 3 // 2)))
            self.keys[layer] = self._grown(self.keys.get(layer), keys, columns)
            self.values[layer] = self._grown(self.values.get(layer), values, columns)
        self.keys[layer][step.slots, :, step.positions] = keys.transpose(0, 1)
        self.values[layer][step.slots, :, step.positions] = values.transpose(0, 1)
        return self.keys[layer], self.values[layer]

    @property
    def bytes(self) -> int:
        """What it holds."""
        return sum(layer.nbytes for held in (self.keys, self.values) for layer in held.values())

    def copy(self, source: int, target: int, columns: int) -> None:
        """Copies the first columns of a slot to another."""
        for held in (self.keys, self.values):
            for layer in held.values():
                layer[target, :, :columns] = layer[source, :, :columns]

    def _grown(self, held: Tensor | None, like: Tensor, columns: int) -> Tensor:
        if like.device.type == "cpu":
            memory.check_cpu(self.slots * like.shape[0] * columns * like.shape[2] * like.element_size())
        # Zeros, not whatever lies in memory: a column that is masked has weight 0 in a sum, and 0 x NaN is NaN.
        grown = like.new_empty((self.slots, like.shape[0], columns, like.shape[2]))
        before = 0 if held is None else held.shape[2]
        if held is not None:
            grown[:, :, :before] = held
        grown[:, :, before:] = 0
        return grown


def attend(
    module: nn.Module,
    query: Float[Tensor, "1 heads tokens width"],
    key: Float[Tensor, "1 kv_heads tokens width"],
    value: Float[Tensor, "1 kv_heads tokens width"],
    attention_mask: None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    rollout_step: Step | None = None,
    rollout_cache: SlotCache | None = None,
    **settings: Any,
) -> tuple[Float[Tensor, "1 tokens heads width"], None]:
    """Attention of transformers' interface for one rollout step."""
    if rollout_step is None or rollout_cache is None:
        raise ValueError(f"attention '{NAME}' serves encore.rollout alone")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    keys, values = rollout_cache.write(layer, rollout_step, key[0], value[0])
    flat = query[0].transpose(0, 1)  # [tokens, heads, width]
    heads, kv_heads = flat.shape[1], keys.shape[1]
    shared = heads // kv_heads
    out = flat.new_empty((flat.shape[0], heads, values.shape[3]))
    for number, group in enumerate(rollout_step.groups):
        grouped = flat[group.tokens].reshape(group.rows, group.queries, kv_heads, shared, -1)
        grouped = grouped.permute(0, 2, 3, 1, 4).reshape(group.rows, kv_heads, shared * group.queries, -1)
        answer = F.scaled_dot_product_attention(
            grouped,
            keys[group.slots, :, : group.width],
            values[group.slots, :, : group.width],
            attn_mask=rollout_step.mask(number, sliding_window, shared),
            scale=scaling,
        )
        answer = answer.view(group.rows, kv_heads, shared, group.queries, -1).permute(0, 3, 1, 2, 4)
        if isinstance(group.tokens, slice):
            out[group.tokens] = answer.reshape(group.rows * group.queries, heads, -1)
        else:
            out[group.tokens] = answer.reshape(group.rows, group.queries, heads, -1)
    return out[None], None


AttentionInterface.register(NAME, attend)


def unsupported(model: PreTrainedModel) -> str | None:
    """Why a model cannot use this attention, or None: the rule by which a rollout keeps a cache between turns."""
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} has an attention of its own that cannot be exchanged"
    other = set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    if other:
        return f"{type(model).__name__} has layers of kind {sorted(other)[0]}, whose state is not keys and values"
    for name in ("attn_logit_softcapping", "num_kv_shared_layers", "attention_chunk_size", "kv_lora_rank"):
        if getattr(config, name, None):
            return f"{type(model).__name__} sets {name}"
    if any("sink" in name for name, _ in model.named_parameters()):
        return f"{type(model).__name__} has attention sinks"
    return None


@contextmanager
def installed(model: PreTrainedModel) -> Iterator[None]:
    """Within: the model computes attention by slots, and is in evaluation mode. After: as it was."""
    before, training = model.config._attn_implementation, model.training
    model.set_attn_implementation(NAME)
    model.eval()
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        model.train(training)


def decoding_runs(slots: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Contiguous ranges [start, stop) that cover sorted `slots`, at most `most`: the smallest holes are bridged."""
    holes = sorted((after - before - 1, place) for place, (before, after) in enumerate(itertools.pairwise(slots)))
    cuts = sorted(place for size, place in holes[::-1][: most - 1] if size > 0)
    starts = [0, *(place + 1 for place in cuts)]
    stops = [*(place + 1 for place in cuts), len(slots)]
    return [(slots[start], slots[stop - 1] + 1) for start, stop in zip(starts, stops, strict=True)]
