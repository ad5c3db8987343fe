"""lm-evaluation-harness on local rows: task files by kind, and outcomes that equal what the model does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from encore.data import Instruction
from encore.errors import UserError
from encore.evaluation import lm_eval
from encore.evaluation.local_tasks import kind_of, write_task

LETTERS = [
    Instruction(f"c{place}", f"Which is it?\nA. one {place}\nB. two\nC. three\nAnswer:", "AB"[place % 2], "f", "s")
    for place in range(6)
]
LABELS = [Instruction(f"y{place}", f"Is {place} even?", ["yes", "no"][place % 2], "f", "s") for place in range(6)]
NUMBERS = [Instruction(f"n{place}", f"{place} + 1?", f"It is so.\n#### {place + 1}", "f", "s") for place in range(6)]
WORDS = [Instruction(f"w{place}", f"Say {place}", f"word {place}", "f", f"s{place % 2}") for place in range(6)]


def test_the_kind_follows_from_the_answers():
    assert kind_of(LETTERS).labels == ("A", "B", "C")
    assert kind_of(LABELS).labels == ("no", "yes")
    assert (kind_of(NUMBERS).output_type, kind_of(NUMBERS).numbers) == ("generate_until", True)
    assert (kind_of(WORDS).output_type, kind_of(WORDS).numbers) == ("generate_until", False)
    with pytest.raises(UserError, match="no row"):
        kind_of([])


def test_a_task_is_a_file_that_names_its_local_data(tmp_path):
    write_task(tmp_path, "numbers", NUMBERS)
    task = yaml.safe_load((tmp_path / "numbers.yaml").read_text())
    assert task["dataset_path"] == "json"
    lines = Path(task["dataset_kwargs"]["data_files"]["test"]).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row.id for row in NUMBERS]


def test_a_target_without_a_harness_task_is_named():
    with pytest.raises(UserError, match="no task for target 'poems'"):
        lm_eval.evaluate_tasks(None, None, ["poems"])


def test_without_the_harness_the_reason_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(lm_eval.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'encore\[evaluation\]'"):
        lm_eval.evaluate_rows(None, None, {"words": WORDS}, tmp_path)


@pytest.fixture(scope="module")
def tiny():
    from encore import data, models
    from encore.policy import PolicySettings

    model, tokenizer = models.load(PolicySettings(device="cpu"))
    return model, tokenizer, data.instruction_format(tokenizer)


@pytest.mark.slow
def test_outcomes_are_what_the_model_does(tiny, tmp_path):
    if lm_eval.why_not():
        pytest.skip(f"the adapter {lm_eval.why_not()}")
    model, tokenizer, chat = tiny
    targets = {"letters": LETTERS, "labels": LABELS, "numbers": NUMBERS, "words": WORDS}
    scores = lm_eval.evaluate_rows(model, tokenizer, targets, tmp_path, batch_size=4, max_new_tokens=4)
    for name, rows in targets.items():
        found = scores[name]
        assert [one["id"] for one in found.outcomes] == [row.id for row in rows]
        assert found.value == pytest.approx(sum(one["score"] for one in found.outcomes) / len(rows))
    assert scores["letters"].metric == scores["labels"].metric == "acc"
    assert scores["words"].metric == "exact_match"
    for row, outcome in zip(LABELS, scores["labels"].outcomes, strict=True):
        likelihoods = {
            label: _log_likelihood(model, tokenizer, chat.first(row.prompt), label) for label in ("no", "yes")
        }
        assert outcome["score"] == (max(likelihoods, key=likelihoods.get) == row.response)


@pytest.mark.slow
def test_the_harness_own_tasks_say_in_one_line_that_they_need_the_hub(tiny):
    if lm_eval.why_not():
        pytest.skip(f"the adapter {lm_eval.why_not()}")
    with pytest.raises(UserError, match=r"gsm8k_cot .* needs its data from the hub .*: run with a network") as caught:
        lm_eval.evaluate_tasks(*tiny[:2], ["gsm8k"], limit=1)  # the tests run with HF_HUB_OFFLINE
    assert "\n" not in str(caught.value)


def _log_likelihood(model, tokenizer, prompt, label):
    answer = tokenizer(label, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(float(logits[len(prompt) + place - 1, token]) for place, token in enumerate(answer))
