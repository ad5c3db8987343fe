"""The reward functions of a cell, from its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from encore import rewards
from encore.chat import ChatFormat
from encore.errors import UserError
from encore.training.conductor import RewardFunction
from experiments.maestro.settings import RUNS

BATCH = 64  # sequences of one forward pass


def reward_functions(
    chosen: dict[str, Any], benchmark: str, chat: ChatFormat, group_size: int
) -> dict[str, RewardFunction]:
    """Rewards by name in the order of the parameters. Raises UserError for an unknown name or parameter."""
    context = rewards.Context(tokenizer=chat.tokenizer, chat=chat, group_size=group_size)
    made: dict[str, RewardFunction] = {}
    for name, parameters in chosen["rewards"].items():
        if name == "preference":
            made[name] = Preference(chosen["preference_source"] or RUNS / "preference" / benchmark / "model", chat)
        else:
            made[name] = rewards.reward(name, parameters, context)
    return made


class Preference:
    """Scores of a reward model for sequence classification, as raw numbers; higher is better."""

    name = __name__ = "preference"

    def __init__(self, source: str | Path, chat: ChatFormat) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self.model = AutoModelForSequenceClassification.from_pretrained(str(source), num_labels=1).eval()
            own = AutoTokenizer.from_pretrained(str(source))
        except (OSError, ValueError) as error:
            raise UserError(
                f"the reward model {source} cannot be loaded ({' '.join(str(error).split())[:200]}): run the stage "
                "maestro.preference, or correct maestro.preference.source"
            ) from error
        self.chat = ChatFormat(own, chat.opening, chat.to_action, chat.end, chat.to_observation)

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        states = last_states(self.model, self.chat, list(zip(prompts, completions, strict=True)), None)
        with torch.no_grad():
            return [float(value) for value in self.model.score(states.to(self.model.device))[:, 0]]


@torch.no_grad()
def last_states(
    model: Any, chat: ChatFormat, texts: Sequence[tuple[str, str]], longest: int | None
) -> Float[Tensor, "texts width"]:
    """Final hidden state at the end token of each (prompt, response), float32 on the CPU; cut at `longest` tokens."""
    rows = []
    for prompt, response in texts:
        ids = [*chat.first(prompt), *chat.action(response)]
        rows.append(ids if longest is None else ids[-longest:])
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    found: dict[int, Tensor] = {}
    device = next(model.parameters()).device
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        width = max(len(rows[place]) for place in places)
        tokens = torch.zeros(len(places), width, dtype=torch.long)
        attended = torch.zeros(len(places), width, dtype=torch.long)
        for row, place in enumerate(places):
            tokens[row, : len(rows[place])] = torch.tensor(rows[place])
            attended[row, : len(rows[place])] = 1
        states = model.base_model(input_ids=tokens.to(device), attention_mask=attended.to(device)).last_hidden_state
        last = states[torch.arange(len(places)), attended.sum(1) - 1].float().cpu()
        found |= dict(zip(places, last, strict=True))
    return torch.stack([found[place] for place in range(len(rows))])
