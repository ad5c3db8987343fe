"""Trains the toy start in as many processes as there are: what `two_processes` starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from encore.chat import chat_format
from encore.training.agents import AgentRLSettings, agent_rl
from encore.training.agents.trainer import Silent
from encore.trajectories import Example, Trajectory, tokenize

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
import two_processes
from conftest import COLOURS, Recorded, Secret

CASES: dict[str, dict[str, Any]] = {
    # The second update also needs the ratio to the sampling policy, and the mean over episodes one of all processes.
    "grpo": {"updates": 2, "normalization": "episode"},
    "hpt": {"updates": 2, "algorithm": "hpt"},
    "kl": {"kl": 0.1, "gradient_checkpointing": True},
}
ITERATIONS = 3


def train(case: str, start: Path, checkpoints: Path, resumed_from: int | None = None) -> dict[str, Any]:
    """The trained weights, the curves, and whether the weights were sharded; `resumed_from` an iteration's end."""
    changes = CASES[case]
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    progress = Recorded() if rank == 0 else Silent()
    if resumed_from is not None and rank == 0:
        progress.checkpoint = f"checkpoint-{resumed_from * changes.get('updates', 1)}"
    chat = chat_format(AutoTokenizer.from_pretrained(start))

    def demonstration(task: int) -> Example:
        observations = [f"say {COLOURS[task % 4]}", "say black"]
        return tokenize(Trajectory(str(task), "toy", "toy", "", observations, ["red", "blue"], won=True), chat)

    model, _ = agent_rl(
        AutoModelForCausalLM.from_pretrained(start),
        chat,
        range(64),
        Secret,
        AgentRLSettings(
            iterations=ITERATIONS,
            tasks_per_iteration=4,
            group_size=4,
            learning_rate=1e-3,
            schedule="constant",
            warmup_share=0.0,
            device_batch=4,
            max_action_tokens=6,
            checkpoint_every=1,
            **changes,
        ),
        max_steps=4,
        max_length=200,
        seed=0,
        checkpoints=checkpoints,
        progress=progress,
        demonstration=demonstration,
    )
    sharded = (checkpoints / f"checkpoint-{ITERATIONS * changes.get('updates', 1)}" / "pytorch_model_fsdp.bin").exists()
    return {"weights": model.state_dict(), "curve": getattr(progress, "lines", []), "sharded": sharded}


if __name__ == "__main__":
    two_processes.main(train, ITERATIONS)
