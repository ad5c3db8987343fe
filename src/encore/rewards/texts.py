"""What a response says: its text, and its thought and answer where it has the form that the prompts ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Parts:
    """Inside of the first <think> and <answer>, without white space around."""

    thought: str
    answer: str


def text_of(completion: Any) -> str:
    """The text of a completion: itself, or the contents of its messages one after the other (TRL's conversations)."""
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)


def parts_of(completion: Any) -> Parts | None:
    """Thought and answer of a completion that is `<think>..</think><answer>..</answer>` and nothing else; else None.

    White space is not counted anywhere, and both may be empty. Source: `tag_format_reward` of NOVER's code
    (arXiv 2505.16022), which compares the completion with what its first two tags say, white space removed.
    """
    text = text_of(completion)
    thought, answer = THOUGHT.search(text), ANSWER.search(text)
    if thought is None or answer is None:
        return None
    whole = f"<think>{thought.group(1)}</think><answer>{answer.group(1)}</answer>"
    if SPACE.sub("", text) != SPACE.sub("", whole):
        return None
    return Parts(thought.group(1).strip(), answer.group(1).strip())
