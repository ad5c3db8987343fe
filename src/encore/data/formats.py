"""How a row of a published data set reads as an instruction; the same for its file and for its copy on the hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

LETTERS = "ABCDEFGHIJ"


def multiple_choice(question: str, choices: Sequence[str], context: str = "") -> str:
    """The question, its lettered choices and "Answer:", as MMLU is usually asked. ValueError for too many choices."""
    if len(choices) > len(LETTERS):
        raise ValueError(f"{len(choices)} choices to {question[:40]!r}: there are letters for {len(LETTERS)}")
    lines = [context, question.strip()] if context else [question.strip()]
    lines += [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([*lines, "Answer:"])


def gsm8k(row: Mapping[str, Any]) -> tuple[str, str]:
    """The worked solution without the calculator's marks, its number after "####"."""
    return row["question"].strip(), re.sub(r"<<[^>]*>>", "", row["answer"]).strip()


def mmlu(subject: str, question: str, choices: Sequence[str], answer: int) -> tuple[str, str]:
    if not 0 <= answer < len(choices):
        raise ValueError(f"answer {answer} of {len(choices)} choices to {question[:40]!r}")
    head = f"The following is a multiple choice question (with answer) about {subject.replace('_', ' ')}."
    return multiple_choice(question, choices, head), LETTERS[answer]


def dolly(row: Mapping[str, Any]) -> tuple[str, str]:
    context = (row.get("context") or "").strip()
    return "\n\n".join(part for part in (row["instruction"].strip(), context) if part), row["response"].strip()


def flan_cot(question: str, answer: str, rationale: str) -> tuple[str, str]:
    """The rationale, then the answer, as Flan's chain-of-thought templates order them."""
    question, answer, rationale = (text.replace("\\n", "\n").strip() for text in (question, answer, rationale))
    return f"{question}\nThink step by step.", f"{rationale}\nThe answer is {answer}."


def reading(question: str, context: str, answer: str) -> tuple[str, str]:
    """Extractive question answering: the passage, the question, and the answer's own words."""
    return f"{context.strip()}\n\nQuestion: {question.strip()}\nAnswer:", answer.strip()


def messages(turns: Sequence[Mapping[str, str]]) -> tuple[str, str] | None:
    """The first question and answer of a conversation; None where there is no such pair."""
    if len(turns) < 2 or turns[0]["role"] not in ("user", "human", "prompter"):
        return None
    return turns[0]["content"].strip(), turns[1]["content"].strip()


def bbh_shots(prompt: str) -> list[tuple[str, str]]:
    """The worked examples of a chain-of-thought prompt file of BIG-Bench Hard: (question, reasoning and answer)."""
    shots = []
    for part in re.split(r"\n\s*\nQ: ", prompt)[1:]:
        question, _, answer = part.partition("\nA: ")
        shots.append((question.strip(), answer.strip()))
    return shots
