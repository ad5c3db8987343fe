"""Mean entropy of the policy over the tokens of the response, in nats a token, with a sign to choose.

MAESTRO (arXiv 2601.07208) names an entropy reward and prints neither formula nor sign; its words for creative writing
("exploration") suggest +. EM-GRPO (arXiv 2505.15134) is the same with -.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from encore.errors import UserError
from encore.rewards.context import Context, model_of
from encore.rewards.likelihood import longest, of_tokens
from encore.rewards.texts import text_of


@dataclass(frozen=True)
class Settings:
    """`sign`: 1 rewards high entropy, -1 low. The other two matter where the entropies have to be computed here:
    `temperature` divides the logits, `max_batch_tokens` bounds a forward pass, padding included.
    """

    sign: int = 1
    temperature: float = 1.0
    max_batch_tokens: int = 8192

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise UserError(f"rewards.entropy.sign is {self.sign}: 1 rewards high entropy, -1 low")
        if self.temperature <= 0:
            raise UserError(f"rewards.entropy.temperature is {self.temperature}: it must be positive")
        if self.max_batch_tokens < 1:
            raise UserError(f"rewards.entropy.max_batch_tokens is {self.max_batch_tokens}: it must be at least 1")


class Reward:
    name = __name__ = "entropy"
    label = "Entropy"

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings, self.context = settings, context

    def skip(self) -> str | None:
        return None

    def __call__(
        self,
        prompts: list[Any],
        completions: list[Any],
        *,
        entropies: Sequence[Any] | Tensor | None = None,
        mask: Sequence[Any] | Tensor | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """sign times the mean; None for a response without tokens, or longer than the model's context.

        `entropies` has a value for each token of each response, in nats; `mask` says which of them count (absent: all).
        Without entropies they are computed under the context's policy, on `completion_ids`, else on the text's tokens.
        """
        if entropies is None:
            if mask is not None:
                raise UserError("reward entropy was given a mask without entropies: give both, or neither")
            found = self._computed(prompts, completions, completion_ids)
        else:
            rows = [torch.as_tensor(row).detach().double().cpu() for row in entropies]
            if mask is not None:
                rows = [row[_mask(row, own)] for row, own in zip(rows, mask, strict=True)]
            found = [*rows]
        if len(found) != len(completions):
            raise UserError(f"reward entropy was given entropies of {len(found)} responses for {len(completions)}")
        return [None if row is None or not len(row) else self.settings.sign * float(row.mean()) for row in found]

    def _computed(
        self, prompts: list[Any], completions: list[Any], completion_ids: Sequence[Sequence[int]] | None
    ) -> list[Tensor | None]:
        if self.context.policy is None:
            raise UserError(
                "reward entropy was given neither entropies nor a policy: train with entropies, or give a policy and "
                "its tokenizer in the reward's context"
            )
        model = model_of(self.context.policy)
        if completion_ids is None:
            completion_ids = [self.context.content_ids(text_of(completion)) for completion in completions]
        sequences = []
        for prompt, ids in zip(prompts, completion_ids, strict=True):
            given = self.context.prompt_ids(prompt)
            sequences.append(((*given, *ids), len(given)))
        limit = longest(model)
        fits = [
            place
            for place, (tokens, start) in enumerate(sequences)
            if len(tokens) > start and (limit is None or len(tokens) <= limit)
        ]
        found = of_tokens(
            model,
            [sequences[place] for place in fits],
            "entropies",
            max_batch_tokens=self.settings.max_batch_tokens,
            temperature=self.settings.temperature,
        )
        result: list[Tensor | None] = [None] * len(completions)
        for place, row in zip(fits, found, strict=True):
            result[place] = row.double()
        return result


def _mask(row: Tensor, mask: Any) -> Tensor:
    chosen = torch.as_tensor(mask).bool().cpu()
    if chosen.shape != row.shape:
        raise UserError(f"reward entropy was given {len(row)} entropies and a mask of {len(chosen)} for one response")
    return chosen
