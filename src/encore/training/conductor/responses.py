"""Answers to prompts, one turn each, drawn by the policy that is trained; and as tensors for TRL's loss."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from encore.chat import ChatFormat
from encore.rollout import TransformersPolicy
from encore.rollout.policy import Request, Response


@torch.no_grad()
def answer(
    model: PreTrainedModel,
    chat: ChatFormat,
    prompts: Sequence[list[int]],
    seeds: Sequence[int],
    *,
    max_response_tokens: int,
    temperature: float,
    rows: int,
) -> list[Response]:
    """One answer to each prompt (token ids), in their order, at most `rows` at a time.

    An answer depends on its prompt, its seed and the model alone. Raises UserError as the policy's session does.
    """
    answered: dict[int, Response] = {}
    waiting: Iterator[int] = iter(range(len(prompts)))
    longest = max(map(len, prompts)) + max_response_tokens
    rows = min(rows, len(prompts))
    with TransformersPolicy(model, chat).session(
        rows, max_length=longest, max_action_tokens=max_response_tokens, temperature=temperature
    ) as session:
        session.submit([Request(place, prompts[place], seeds[place]) for _, place in zip(range(rows), waiting)])  # noqa: B905
        while responses := session.poll():
            for response in responses:
                answered[response.row] = response
                session.release(response.row)
                following = next(waiting, None)
                if following is not None:
                    session.submit([Request(following, prompts[following], seeds[following])])
    return [answered[place] for place in range(len(prompts))]


def response_seed(seed: int, step: int, place: int) -> int:
    """Seed of the response at `place` of a step: nothing else decides what is drawn."""
    digest = hashlib.blake2b(f"{seed} {step} {place}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")


def tensors(
    prompts: Sequence[list[int]], responses: Sequence[list[int]], pad_id: int, device: torch.device
) -> dict[str, Int[Tensor, "batch positions"]]:
    """The batch as TRL's loss takes it: `prompt_ids`, `prompt_mask` padded before, `completion_…` padded after."""
    before = max(map(len, prompts))
    after = max(map(len, responses))
    rows = {
        "prompt_ids": [[pad_id] * (before - len(ids)) + ids for ids in prompts],
        "prompt_mask": [[0] * (before - len(ids)) + [1] * len(ids) for ids in prompts],
        "completion_ids": [ids + [pad_id] * (after - len(ids)) for ids in responses],
        "completion_mask": [[1] * len(ids) + [0] * (after - len(ids)) for ids in responses],
    }
    return {name: torch.tensor(value, dtype=torch.long, device=device) for name, value in rows.items()}
