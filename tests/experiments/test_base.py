"""The tiny base: its corpus is what the card says, and the shipped weights are the beginner that was asked for."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

import alfworld_env
from alfworld_env import AlfworldEnv
from encore import models
from encore.chat import chat_format
from encore.policy import PolicySettings
from encore.trajectories import tokenize
from experiments.base.corpus import CorpusSettings, corpus

ROOT = Path(__file__).resolve().parents[2]
SMALL = CorpusSettings(walks=30, tours=10, random=10, shop=12, shop_goals=6, instructions=9)


@pytest.fixture(scope="module")
def made():
    return corpus(SMALL, seed=3)


def test_kinds_and_numbers(made):
    count = Counter(item.source for item in made)
    assert count == {"walk": 30, "tour": 10, "random": 10, "expert": 12, "procedural": 9}
    assert {item.task_type for item in made if item.source == "walk"} == set(alfworld_env.TASK_TYPES)
    assert all(item.won for item in made if item.source in ("expert", "procedural"))
    assert not any(item.won for item in made if item.source == "tour")
    assert made == corpus(SMALL, seed=3)
    assert made != corpus(SMALL, seed=4)


def test_most_walks_win_and_follow_the_order_of_the_room(made):
    walks = [item for item in made if item.source == "walk"]
    assert sum(item.won for item in walks) > 0.6 * len(walks)
    for item in walks:
        places = re.findall(r"\ba (\w+ \d+)", item.observations[0].partition("Your task")[0])
        assert item.actions[0] == f"go to {places[0]}"


def test_slips_do_nothing_and_are_not_learned(made):
    games = {game.id: game for game in alfworld_env.generate_games(30, 3, size="small", split="train")}
    slips = 0
    for item in made:
        if item.source != "walk":
            continue
        environment = AlfworldEnv(games[item.id])
        environment.reset()
        for turn, action in enumerate(item.actions):
            assert (action not in environment.admissible) == (turn in item.context_turns)
            environment.step(action)
        slips += len(item.context_turns)
    assert slips > 10


def test_thoughts_lead_to_their_answers(made):
    """A chain_sum's last line ends with the answer; so the format teaches what it claims to."""
    for item in made:
        if item.task_type == "chain_sum":
            thought, answer = re.fullmatch(r"<think>(.*)</think><answer>(.*)</answer>", item.actions[0]).groups()
            assert thought.endswith(f"= {answer}.")
        if item.task_type == "spell_backward":
            thought, answer = re.fullmatch(r"<think>(.*)</think><answer>(.*)</answer>", item.actions[0]).groups()
            assert thought.split(" -> ")[1].replace(" ", "") == answer


@pytest.fixture(scope="module")
def shipped():
    return models.load(PolicySettings(source=str(ROOT / "base/tiny"), device="cpu"))


def test_the_shipped_base_is_small_and_speaks_the_grammar(shipped, made):
    model, tokenizer = shipped
    parameters = sum(weight.numel() for weight in model.parameters())
    assert 1e6 <= parameters <= 5e6
    assert sum(path.stat().st_size for path in (ROOT / "base/tiny").rglob("*") if path.is_file()) < 15e6
    chat = chat_format(tokenizer)
    lengths = [len(tokenize(item, chat)) for item in made if item.source == "walk" and not item.context_turns]
    assert sum(lengths) / len(lengths) < 200


def test_the_card_reports_the_run(shipped):
    metrics = json.loads((ROOT / "base/tiny/metrics.json").read_text())
    record = yaml.safe_load((ROOT / "base/tiny/run.yaml").read_text())
    assert record["stage"] == "base.pretrain"
    assert record["params"]["base"] == yaml.safe_load((ROOT / "params.yaml").read_text())["base"], "make the base again"
    assert 0.05 <= metrics["development_greedy/success"] <= 0.30
    assert metrics["development_greedy/invalid_share"] < 0.30
    card = (ROOT / "base/tiny/README.md").read_text()
    assert f"{metrics['tokens']:,} tokens" in card
    assert f"{metrics['parameters']:,} parameters" in card


def test_nobody_has_to_make_the_shipped_base_again():
    """An edit to its stage calls for a new base, or, if it changes no result, for `dvc commit base.pretrain`."""
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))["stages"]["base.pretrain"]
    for dependency in lock["deps"]:
        found = hashlib.md5((ROOT / dependency["path"]).read_bytes()).hexdigest()
        assert found == dependency["md5"], f"{dependency['path']} is not what the shipped base was made with"
    assert lock["params"]["params.yaml"]["base"] == yaml.safe_load((ROOT / "params.yaml").read_text())["base"]
