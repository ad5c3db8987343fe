"""Prompts to learn from, and the order in which they are answered."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from encore.training.conductor.settings import MultiRewardSettings


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        text: what the user says, before the chat format.
        kind: the group under which its weights are shown, for instance a benchmark or a genre.
        columns: whatever else reward functions want to know, for instance the reference answer; the same names for
            all prompts of a training.
    """

    text: str
    kind: str = "all"
    columns: Mapping[str, Any] = field(default_factory=dict)


def prompt_order(number: int, settings: MultiRewardSettings, seed: int) -> list[int]:
    """Places of prompts for all steps: permutation after permutation, so that each is answered equally often."""
    generator = random.Random(seed)
    order: list[int] = []
    while len(order) < settings.steps * settings.prompts_per_step:
        permutation = list(range(number))
        generator.shuffle(permutation)
        order += permutation
    return order[: settings.steps * settings.prompts_per_step]


def columns_of(prompts: Sequence[Prompt]) -> dict[str, list[Any]]:
    """The prompts' columns, each as a list in their order, with `kind`."""
    return {name: [prompt.columns[name] for prompt in prompts] for name in prompts[0].columns} | {
        "kind": [prompt.kind for prompt in prompts]
    }
