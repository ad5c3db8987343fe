"""Log-probabilities and entropies of given tokens under a causal model, whatever batch they are computed in."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from encore.gradients import batches

Sequence_ = tuple[tuple[int, ...], int]
"""All tokens, and the place of the first one to be scored, at least 1: nothing predicts the first token of all."""


@torch.no_grad()
def of_tokens(
    model: nn.Module,
    sequences: Sequence[Sequence_],
    what: Literal["log_probs", "entropies"],
    *,
    max_batch_tokens: int,
    temperature: float = 1.0,
) -> list[Float[Tensor, " tokens"]]:
    """For each sequence, a value in nats for each scored token, float32, on the CPU.

    `log_probs`: of the token; `entropies`: of the distribution that it was drawn from. Sequences are sorted by length
    and padded on the right, which no real token can see; a batch holds at most `max_batch_tokens` positions. Equal
    sequences are computed once, so that they get equal values to the last bit. The model's mode (training or not) is
    as before afterwards, and evaluation in between.
    """
    result: dict[Sequence_, Tensor] = {}
    different = list(dict.fromkeys(sequences))
    given = [
        (str(place), tokens, [0] * start + [1] * (len(tokens) - start))
        for place, (tokens, start) in enumerate(different)
    ]
    keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for batch in batches(given, max_tokens=max_batch_tokens):
            own = [different[int(place)] for place in batch["order"]]
            tokens = batch["input_ids"].to(device)
            first = min(start for _, start in own) - 1  # the position that predicts the first scored token
            arguments = {"logits_to_keep": tokens.shape[1] - first} if keeps else {}
            logits = model(
                input_ids=tokens, attention_mask=batch["attention_mask"].to(device), use_cache=False, **arguments
            ).logits
            logits = logits[:, first - tokens.shape[1] :] if not keeps else logits
            values = _values(logits[:, :-1].float() / temperature, tokens[:, first + 1 :], what).cpu()
            for row, sequence in enumerate(own):
                ids, start = sequence
                result[sequence] = values[row, start - first - 1 : len(ids) - first - 1].clone()
    finally:
        model.train(was_training)
    return [result[sequence] for sequence in sequences]


def longest(model: nn.Module) -> int | None:
    """Positions that the model was made for, if its configuration says so."""
    found = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return found if isinstance(found, int) else None


def _values(
    logits: Float[Tensor, "rows positions vocabulary"], labels: Tensor, what: str
) -> Float[Tensor, "rows positions"]:
    if what == "entropies":
        log_probs = logits.log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum(-1)
    return -nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
