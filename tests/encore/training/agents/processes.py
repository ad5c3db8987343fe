"""Run by torchrun: trains the toy start in as many processes as there are and saves what came out."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from encore.chat import chat_format
from encore.training.agents import AgentRLSettings, agent_rl
from encore.trajectories import Example, Trajectory, tokenize

sys.path.insert(0, str(Path(__file__).parent))
from conftest import COLOURS, Recorded, Secret


def main() -> None:
    start, out, updates, algorithm = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(1)
    recorded = Recorded()
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
            algorithm=algorithm,
            iterations=3,
            tasks_per_iteration=4,
            group_size=4,
            learning_rate=1e-3,
            schedule="constant",
            warmup_share=0.0,
            updates=updates,
            device_batch=4,
            max_action_tokens=6,
        ),
        max_steps=4,
        max_length=200,
        seed=0,
        checkpoints=out / "checkpoints",
        progress=recorded,
        demonstration=demonstration,
    )
    if torch.distributed.is_initialized():
        rank = torch.distributed.get_rank()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
        if rank:
            return
    torch.save({"weights": model.state_dict(), "curve": recorded.lines}, out / "result.pt")


if __name__ == "__main__":
    main()
