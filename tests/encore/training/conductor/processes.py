"""Trains the small start on several rewards in as many processes as there are: what `two_processes` starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from encore.chat import chat_format
from encore.scalarization import scalarizer
from encore.training.agents.trainer import Silent
from encore.training.conductor import MultiRewardSettings, Prompt, multi_reward_rl

sys.path.insert(0, str(Path(__file__).parents[1]))
import two_processes

STEPS = 4
WORDS = ("red", "blue", "green", "black")
PROMPTS = [Prompt(f"say {word}", kind, {"wanted": word}) for word in WORDS for kind in ("sure", "free")]
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # Scalarizer, its parameters, settings. A restart before the last step finds the Conductor's buffer half full.
    "conductor": ("conductor", {"learning_rate": 0.05, "update_every": 2}, {"reference_every": 2}),
    "blended": (
        "conductor_pairwise",
        {"learning_rate": 0.05, "update_every": 2, "alpha": 0.5},
        {"loss_normalization": "response", "bad_rewards": "drop", "reference_share": 0.5, "reference_every": 1},
    ),
    "joint": ("conductor_joint", {"learning_rate": 0.05}, {"schedule": "cosine", "kl": 0.0}),
    "equal": ("equal", {}, {}),
    "random": ("random", {}, {"kl": 0.0, "bad_rewards": "drop"}),
    "sharded": (
        "conductor",
        {"learning_rate": 0.05, "update_every": 2},
        {"reference_every": 2, "gradient_checkpointing": True, "layer": "middle"},
    ),
}


class Lines(Silent):
    """Keeps the curve and the costs of the first process."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.generated = 0.0

    def curve(self, values: dict[str, float], step: int) -> None:
        self.lines.append((step, values))

    def count(self, **counts: float) -> None:
        self.generated += counts.get("tokens_generated", 0)


def about_length(prompts, completions, completion_ids, **_):
    return [-float(len(ids)) for ids in completion_ids]


def about_word(prompts, completions, wanted, **_):
    return [float(completion.count(word)) for completion, word in zip(completions, wanted, strict=True)]


def about_entropy(prompts, completions, entropies, **_):
    # Rounded, because equal answers have equal entropies but for the batch that they are computed in.
    return [round(float(of_response.mean()), 3) for of_response in entropies]


def about_reference(prompts, completions, completion_ids, reference, **_):
    """How likely the answer is to the reference, a forward pass for each answer of more than two tokens."""
    with torch.no_grad():
        return [
            0.0
            if len(ids) < 3
            else round(float(reference(torch.tensor([ids])).logits[0, :-1].log_softmax(-1).amax(-1).mean()), 3)
            for ids in completion_ids
        ]


def about_luck(prompts, completions, completion_ids, **_):
    return [None if sum(ids) % 5 == 1 else float(sum(ids) % 3) for ids in completion_ids]


def train(case: str, start: Path, checkpoints: Path, resumed_from: int | None = None) -> dict[str, Any]:
    """Trained weights, the scalarizer's state, curves, and whether weights were sharded."""
    name, parameters, changes = CASES[case]
    several = torch.distributed.is_initialized()
    progress = Silent() if several and torch.distributed.get_rank() else Lines()
    if resumed_from is not None and isinstance(progress, Lines):
        progress.checkpoint = f"checkpoint-{resumed_from}"
    rewards = {"word": about_word, "length": about_length, "entropy": about_entropy}
    if changes.get("kl") != 0.0:
        rewards["reference"] = about_reference
    if "bad_rewards" in changes:
        rewards["luck"] = about_luck
    made = scalarizer(name)
    defaults = {"learning_rate": 1e-3, "schedule": "constant", "warmup_share": 0.0, "checkpoint_every": 1}
    settings = {"steps": STEPS, "prompts_per_step": 4, "group_size": 4, "device_batch": 4, "max_response_tokens": 6}
    model, result = multi_reward_rl(
        AutoModelForCausalLM.from_pretrained(start),
        chat_format(AutoTokenizer.from_pretrained(start)),
        PROMPTS,
        rewards,
        made,
        MultiRewardSettings(**{**defaults, **settings, **changes}),
        parameters=parameters,
        seed=0,
        checkpoints=checkpoints,
        progress=progress,
    )
    return {
        "weights": model.state_dict(),
        "scalarizer": made.state(),
        "history": result.history,
        "curve": getattr(progress, "lines", []),
        "generated": getattr(progress, "generated", 0.0),
        "sharded": (checkpoints / f"checkpoint-{STEPS}" / "pytorch_model_fsdp.bin").exists(),
    }


if __name__ == "__main__":
    two_processes.main(train, STEPS)
