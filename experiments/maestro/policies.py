"""Policies of cells as they lie on disk, and items as what trainers take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encore import models
from encore.benchmarks import Item
from encore.chat import ChatFormat
from encore.data import Instruction, instruction_format, tokenize_instruction
from encore.errors import UserError
from encore.policy import PolicySettings
from encore.training.conductor import Prompt
from encore.trajectories import Example


def source_of(folder: Path) -> str:
    """Where the policy that a stage left in `folder` is. Raises UserError if the stage has not run."""
    path = folder / "policy.json"
    if not path.is_file():
        raise UserError(f"{folder} has no policy: run the stage that makes it first (dvc repro maestro.compare)")
    return str(json.loads(path.read_text(encoding="utf-8"))["source"])


def load(policy: PolicySettings, folder: Path) -> tuple[Any, Any, ChatFormat]:
    """Model, tokenizer and chat format of the policy in `folder`."""
    model, tokenizer = models.load(policy, source=source_of(folder))
    return model, tokenizer, instruction_format(tokenizer)


def supervised_examples(items: Sequence[Item], tokenizer: Any, max_length: int) -> list[Example]:
    """What supervised fine-tuning imitates, one example an item; items whose prompt fills the context are left out."""
    chat = instruction_format(tokenizer)
    made = [
        tokenize_instruction(Instruction(item.id, item.prompt, item.solution, item.task_type), chat, max_length)
        for item in items
    ]
    return [example for example in made if example is not None]


def prompts(items: Sequence[Item], benchmark: str, chat: ChatFormat, longest: int) -> list[Prompt]:
    """Items as prompts of GRPO, without those of more than `longest` tokens. Raises UserError if none is left."""
    kept = [item for item in items if len(chat.first(item.prompt)) <= longest]
    if not kept:
        raise UserError(
            f"every prompt of {benchmark} has more than {longest} tokens: raise policy.max_length, or lower "
            "maestro.rl.max_response_tokens"
        )
    return [Prompt(item.prompt, benchmark, {"answer": item.reference, "id": item.id}) for item in kept]
