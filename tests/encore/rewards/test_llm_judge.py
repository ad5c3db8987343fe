"""A judge's grades and rankings as rewards, against a server on this machine."""

from __future__ import annotations

import re

import pytest

from encore import rewards
from encore.errors import UserError
from encore.rewards import Context
from tests.encore.evaluation.judge_double import Bench, served

JUDGE = {"model": "wise", "retries": 1, "backoff_s": 0.01, "timeout_s": 30.0}


def ranks_by_length(body):
    prompt = body["messages"][0]["content"]
    shown = re.findall(r"<response_(\d+)>\n(.*?)\n</response_\1>", prompt, re.DOTALL)
    return "RANKING: " + " > ".join(number for number, text in sorted(shown, key=lambda one: -len(one[1])))


def grades_by_length(body):
    prompt = body["messages"][0]["content"]
    return f"SCORE: {len(prompt.partition('<response>')[2].partition('</response>')[0].strip())}"


def make(url, mode, tmp_path=None, size=3, **judge):
    parameters = {"mode": mode, "judge": {"url": url, **JUDGE, **judge}}
    return rewards.reward("llm_judge", parameters, Context(group_size=size, cache=tmp_path))


def test_ranks_are_the_responses_own_whatever_the_order_they_are_shown_in(tmp_path):
    bench = Bench(ranks_by_length)
    columns = {"prompts": ["p"] * 3 + ["q"] * 3, "completions": ["xx", "x", "xxx", "x", "xxx", "xx"]}
    with served(bench) as url:
        assert make(url, "rank", tmp_path, votes=3)(**columns) == [0.5, 0.0, 1.0, 0.0, 1.0, 0.5]
        assert len(bench.asked) == 6
        assert len({body["messages"][0]["content"] for body in bench.asked}) > 2, "each vote shuffles anew"
        assert make(url, "rank", tmp_path, votes=3)(**columns) == [0.5, 0.0, 1.0, 0.0, 1.0, 0.5]
        assert len(bench.asked) == 6, "answers are kept in the context's folder"
    assert (tmp_path / "llm_judge.jsonl").exists()


def test_grades_are_means_over_votes_that_can_be_read():
    sayings = iter(["SCORE: 4", "none", "SCORE: 9", "no", "no", "no"])
    bench = Bench(lambda body: next(sayings))
    with served(bench) as url:
        reward = make(url, "score", votes=3, reasks=0, concurrency=1)
        assert reward(prompts=["p", "p"], completions=["a", "b"]) == [pytest.approx(0.65), None]
    with served(Bench(grades_by_length)) as url:
        assert make(url, "score")(prompts=["p"] * 2, completions=["xxxxx", ""]) == [0.5, 0.0]


@pytest.mark.parametrize("said", ["RANKING: 1 > 2", "RANKING: 1 > 2 > 2", "RANKING: 1 > 2 > 4", "1 > 2 > 3"])
def test_an_order_that_is_none_leaves_the_group_unscored(said):
    bench = Bench(lambda body: said)
    with served(bench) as url:
        assert make(url, "rank", reasks=1, votes=1)(prompts=["p"] * 3, completions=["a", "b", "c"]) == [None] * 3
    assert len(bench.asked) == 2, "once, and once again"


def test_what_is_missing_or_no_group_is_said():
    with pytest.raises(UserError, match="give group_size"):
        rewards.reward("llm_judge")
    with pytest.raises(UserError, match=r"set judge\.url"):
        rewards.reward("llm_judge", {"mode": "score"})
    with pytest.raises(UserError, match=r"rewards\.llm_judge\.judge\.voters is no setting"):
        rewards.reward("llm_judge", {"judge": {"voters": 3}})
    reward = make("http://127.0.0.1:9", "rank")
    with pytest.raises(UserError, match="keep each prompt's responses together"):
        reward(prompts=["p", "p", "q"], completions=["a", "b", "c"])
    with pytest.raises(UserError, match="cannot be reached"):
        rewards.score([reward], ["p"] * 3, ["a", "b", "c"], invalid="drop", group_size=3)
