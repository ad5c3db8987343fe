"""Readers of files as the authors of data sets publish them: GSM8K's JSONL, MMLU's CSV, BBH's JSON.

Each takes the folder of one data set and yields (prompt, response, family, subtask). A row that is damaged raises
ValueError, KeyError, IndexError or TypeError, which `encore.data.local` turns into a line for the user; a row without
a question or an answer is yielded with that left empty, and counted there.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from encore.data import formats
from encore.data.drawing import Raw

Reader = Callable[[Path], Iterator[Raw]]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The object of each line that is not blank; ValueError names the line that is none."""
    with path.open("rb") as lines:  # bytes end a line at "\n" alone; a text may hold others, U+2028 say
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode())
            except ValueError as error:  # no JSON, or no UTF-8
                raise ValueError(f"{path.name}, line {number}: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path.name}, line {number} is no JSON object")
            yield row


def gsm8k(split: str) -> Reader:
    def read(folder: Path) -> Iterator[Raw]:
        for row in _lines(folder / f"{split}.jsonl"):
            yield *formats.gsm8k(row), "gsm8k", "gsm8k"

    return read


def flan_cot(folder: Path) -> Iterator[Raw]:
    for path in sorted(folder.glob("*_train.tsv")):
        family = path.stem.removesuffix("_train")
        with path.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                match line.rstrip("\r\n").split("\t"):
                    case [question, answer, rationale]:
                        yield *formats.flan_cot(question, answer, rationale), family, ""
                    case _:  # no question, answer and rationale
                        yield "", "", family, ""


def t0(folder: Path) -> Iterator[Raw]:
    for path in sorted(folder.glob("*.jsonl")):
        for row in _lines(path):
            yield row["prompt"].strip(), row["completion"].strip(), row["family"], ""


def dolly(folder: Path) -> Iterator[Raw]:
    for path in sorted(folder.glob("*.jsonl")):
        for row in _lines(path):
            yield *formats.dolly(row), "dolly", ""


def oasst(folder: Path) -> Iterator[Raw]:
    """Every assistant message with the question right before it."""
    for tree in _lines(folder / "en_100_tree.jsonl"):
        stack = [tree["prompt"]]
        while stack:
            message = stack.pop()
            for reply in message.get("replies", []):
                if message["role"] == "prompter" and reply["role"] == "assistant":
                    yield message["text"].strip(), reply["text"].strip(), "oasst", ""
                stack.append(reply)


def mmlu(split: str, subjects: Sequence[str] = ()) -> Reader:
    def read(folder: Path) -> Iterator[Raw]:
        for path in sorted((folder / split).glob("*.csv")):
            subject = path.stem.removesuffix(f"_{split}")
            if subjects and subject not in subjects:
                continue
            with path.open(encoding="utf-8", newline="") as file:
                for question, *choices, answer in list(csv.reader(file))[1:]:
                    yield *formats.mmlu(subject, question, choices, int(answer)), "mmlu", subject

    return read


def bbh(folder: Path) -> Iterator[Raw]:
    for path in sorted((folder / "bbh").glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["examples"]:
            yield row["input"].strip(), str(row["target"]).strip(), "bbh", path.stem


def bbh_shots(folder: Path) -> Iterator[Raw]:
    for path in sorted((folder / "cot-prompts").glob("*.txt")):
        for question, answer in formats.bbh_shots(path.read_text(encoding="utf-8")):
            yield question, answer, "bbh", path.stem


def tydiqa(folder: Path) -> Iterator[Raw]:
    for path in sorted((folder / "dev").glob("*.json")):
        language = path.stem.removesuffix("_tydiqa_dev")
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    answer = qa["answers"][0]["text"]
                    yield *formats.reading(qa["question"], paragraph["context"], answer), "tydiqa", language


def pubmedqa(tested: bool) -> Reader:
    def read(folder: Path) -> Iterator[Raw]:
        test = set(json.loads((folder / "test_ground_truth.json").read_text(encoding="utf-8")))
        for key, row in json.loads((folder / "ori_pqal.json").read_text(encoding="utf-8")).items():
            if (key in test) == tested:
                context = "\n".join(row["CONTEXTS"])
                prompt = f"{context}\n\nQuestion: {row['QUESTION']}\nAnswer yes, no or maybe:"
                yield prompt, row["final_decision"], "pubmedqa", "pubmedqa"

    return read


def tatqa(split: str) -> Reader:
    """The questions answered by a span or a number, over table and text."""

    def read(folder: Path) -> Iterator[Raw]:
        for page in json.loads((folder / f"tatqa_dataset_{split}.json").read_text(encoding="utf-8")):
            table = "\n".join(" | ".join(row) for row in page["table"]["table"])
            text = "\n".join(paragraph["text"] for paragraph in page["paragraphs"])
            for qa in page["questions"]:
                answer = qa["answer"]
                answers = [str(part) for part in (answer if isinstance(answer, list) else [answer])]
                response = f"{'; '.join(answers)} {qa['scale']}".strip()
                yield *formats.reading(qa["question"], f"{table}\n{text}", response), "tatqa", "tatqa"

    return read


def medmcqa(folder: Path) -> Iterator[Raw]:
    for row in _lines(folder / "medmcqa_validation.jsonl"):
        yield f"{row['question']}\n{row['options']}\nAnswer:", row["answer"].strip(), "medmcqa", row["subject"]


def privacy(folder: Path) -> Iterator[Raw]:
    for path in sorted(folder.glob("privacy_policy_qa*.jsonl")):
        for row in _lines(path):
            prompt = f"{row['context']}\n\nDoes the text answer this question: {row['question']}\nTrue or False:"
            yield prompt, str(row["answer"]).strip(), "privacy_policy", "privacy_policy"
