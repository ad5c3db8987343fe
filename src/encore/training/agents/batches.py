"""From episodes to what a device computes at once: rows of about equal length, with an advantage for each token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from encore.rollout import Episode, sequences


@dataclass(frozen=True)
class Row:
    """One sequence to learn from; all fields are as long as `input_ids`, and 0 where no response token stands."""

    input_ids: list[int]
    response_mask: list[int]
    logprobs: list[float]
    advantages: list[float]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def response_tokens(self) -> int:
        return sum(self.response_mask)

    @property
    def moves(self) -> bool:
        """Whether any of its tokens has an advantage."""
        return any(self.advantages)


def rows_of(episode: Episode, advantages: Float[Tensor, " turns"]) -> list[Row]:
    """The sequences of an episode (one, or with single-turn prompts one a turn) with each turn's advantage."""
    values = advantages.tolist()
    return [
        Row(
            sequence.input_ids,
            sequence.response_mask,
            sequence.logprobs,
            [values[turn] * response for turn, response in zip(sequence.turn, sequence.response_mask, strict=True)],
        )
        for sequence in sequences(episode)
    ]


def episode_tokens(rows_by_episode: Sequence[Sequence[Row]]) -> list[int]:
    """Response tokens of each episode."""
    return [sum(row.response_tokens for row in rows) for rows in rows_by_episode]


def averaged_by_episode(rows_by_episode: Sequence[Sequence[Row]], mean: float | None = None) -> list[list[Row]]:
    """Advantages scaled so that a mean over all tokens weighs episodes alike, whatever their length.

    The clipped loss is linear in the advantage at a fixed sign, so a positive factor on it is a weight of the token.
    `mean` is the mean number of response tokens of the episodes that have any, of all processes together; None: of
    these.
    """
    counts = episode_tokens(rows_by_episode)
    if mean is None:
        mean = sum(counts) / max(1, sum(count > 0 for count in counts))
    return [
        [
            Row(row.input_ids, row.response_mask, row.logprobs, [value * mean / count for value in row.advantages])
            for row in rows
        ]
        for rows, count in zip(rows_by_episode, counts, strict=True)
    ]


def micro_batches(rows: Sequence[Row], number: int) -> list[list[Row]]:
    """Exactly `number` batches, some perhaps empty: rows of similar length together, padded work about equal."""
    ordered = sorted(rows, key=len)
    batches: list[list[Row]] = []
    remaining = sum(map(len, ordered))
    while len(batches) < number - 1:
        share = remaining / (number - len(batches))
        batch: list[Row] = []
        # A row joins while that brings the batch's padded size nearer to its share; what is left must not run dry.
        while ordered and (not batch or (len(batch) + 0.5) * len(ordered[0]) <= share):
            batch.append(ordered.pop(0))
        remaining -= sum(map(len, batch))
        batches.append(batch)
    return [*batches, ordered]


def tensors(rows: Sequence[Row], pad_id: int, device: torch.device, at_least: int = 1) -> dict[str, Tensor]:
    """The rows as TRL's loss takes them: the first token is the prompt, all others the completion, padded on the right.

    Returns `prompt_ids`, `prompt_mask` [rows, 1], and [rows, longest - 1]: `completion_ids`, `completion_mask` (no
    padding), `tool_mask` (response tokens), `advantages`, `old_per_token_logps`. Rows that count for nothing are added
    up to `at_least`, so that every process makes as many device steps as the others, of as many rows.
    """
    added = max(0, at_least - len(rows))
    longest = max(2, max(map(len, rows), default=0))

    def padded(values: Sequence[Sequence[float]], filling: float, dtype: torch.dtype) -> Tensor:
        content = [[*value, *[filling] * (longest - len(value))] for value in values]
        content += [[filling] * longest for _ in range(added)]
        return torch.tensor(content, dtype=dtype, device=device)

    ids: Int[Tensor, "rows positions"] = padded([row.input_ids for row in rows], pad_id, torch.long)
    attended = padded([[1] * len(row) for row in rows], 0, torch.long)
    attended[:, :1] = 1
    return {
        "prompt_ids": ids[:, :1],
        "prompt_mask": attended[:, :1],
        "completion_ids": ids[:, 1:],
        "completion_mask": attended[:, 1:],
        "tool_mask": padded([row.response_mask for row in rows], 0, torch.long)[:, 1:],
        "advantages": padded([row.advantages for row in rows], 0, torch.float32)[:, 1:],
        "old_per_token_logps": padded([row.logprobs for row in rows], 0, torch.float32)[:, 1:],
    }
