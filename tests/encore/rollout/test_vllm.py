"""The contract of backends: the same episodes from every one, with the same log-probabilities, and failures in a line.

vLLM itself needs a GPU. Here its server and its engine are doubles that compute with the tests' model.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
import time
from collections import Counter
from functools import partial

import pytest
import torch

from encore import rollout
from encore.errors import UserError
from encore.rollout import TransformersPolicy, VLLMPolicy
from tests.encore.rollout import vllm_double
from tests.encore.rollout.vllm_double import Behaviour
from tests.encore.rollout.worlds import World

NAMES = ["a", "the kitchen", "the hall", "b", "the very long corridor"]
FAST = {"backoff_s": 0.01, "retries": 2}


@pytest.fixture(scope="module")
def talk(model, chat):
    """A chat format whose end token is one that the untrained model often says, so that some answers end by it."""
    said: Counter[int] = Counter()
    for name in NAMES:
        tokens, _, _ = vllm_double.generate(model, chat.first(World(name).reset()), 0, 0.0, 5, [])
        said.update(tokens[1:4])
    return dataclasses.replace(chat, end=chat.tokenizer.convert_ids_to_tokens(said.most_common(1)[0][0]))


@pytest.fixture
def behaviour(model) -> Behaviour:
    return Behaviour(model)


@pytest.fixture(params=["transformers", "server", "server with token strings", "colocated"])
def policy(request, model, talk, behaviour, monkeypatch):
    if request.param == "transformers":
        yield TransformersPolicy(model, talk)
    elif request.param == "colocated":
        monkeypatch.setitem(sys.modules, "vllm", vllm_double.module(model))
        yield VLLMPolicy.colocated("tiny", talk)
    else:
        behaviour.ids = "token_ids" if request.param == "server" else "strings"
        with vllm_double.served(behaviour) as url:
            yield VLLMPolicy.server(url, talk, **FAST)


def play(policy, names=NAMES, **settings):
    worlds = [World(name, win_after=number + 1) for number, name in enumerate(names)]
    return rollout.collect(policy, worlds, **{"max_steps": 3, "max_length": 2000, "max_action_tokens": 5, **settings})


def spoken(episodes):
    return [[(turn.context_ids, turn.response_ids) for turn in episode.turns] for episode in episodes]


def same(one, other):
    assert spoken(one) == spoken(other)
    for first, second in zip(one, other, strict=True):
        assert (first.stop_reason, first.actions, first.observations) == (
            second.stop_reason,
            second.actions,
            second.observations,
        )
        for turn, twin in zip(first.turns, second.turns, strict=True):
            assert turn.logprobs == pytest.approx(twin.logprobs, abs=1e-5)


def test_greedy_episodes_are_those_of_transformers(policy, model, talk):
    episodes = play(policy)
    same(episodes, play(TransformersPolicy(model, talk)))
    ended = [turn.response_ids[-1] == talk.end_id for episode in episodes for turn in episode.turns]
    assert any(ended)
    assert not all(ended), "both kinds of answers are compared"


def test_an_episode_does_not_depend_on_its_batch(policy):
    together = play(policy, temperature=1.0, seeds=[4, 5, 6, 7, 8])
    same(play(policy, temperature=1.0, seeds=[4, 5, 6, 7, 8], batch_size=2), together)


def test_sampled_episodes_are_reproduced_by_their_seed(policy):
    same(play(policy, temperature=1.0, seed=3), play(policy, temperature=1.0, seed=3))
    assert spoken(play(policy, temperature=1.0, seed=3)) != spoken(play(policy, temperature=1.0, seed=4))


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logprobs_are_those_of_a_training_forward(policy, model, temperature):
    for episode in play(policy, temperature=temperature):
        (sequence,) = rollout.sequences(episode)
        with torch.no_grad():
            logits = model(torch.tensor([sequence.input_ids])).logits[0]
        expected = torch.log_softmax(logits[:-1] / (temperature or 1.0), dim=-1)
        expected = expected.gather(1, torch.tensor(sequence.input_ids[1:])[:, None])[:, 0]
        mask = torch.tensor(sequence.response_mask[1:]).bool()
        assert mask.any()
        kept = torch.tensor(sequence.logprobs[1:], dtype=torch.float64)
        torch.testing.assert_close(kept[mask], expected[mask], atol=1e-5, rtol=0)


def test_an_empty_session_gives_nothing(policy):
    with policy.session(2, max_length=100, max_action_tokens=4, temperature=0.0) as session:
        assert session.poll() == []


def test_a_context_that_the_server_lacks_is_said_at_once(talk, model, behaviour, monkeypatch):
    behaviour.max_model_len = 500
    with vllm_double.served(behaviour) as url, pytest.raises(UserError, match=r"max_length is 2000.* 500 tokens"):
        play(VLLMPolicy.server(url, talk))
    monkeypatch.setitem(sys.modules, "vllm", vllm_double.module(model))
    with pytest.raises(UserError, match=r"max_length is 2000.* 500 tokens"):
        play(VLLMPolicy.colocated("tiny", talk, max_model_len=500))


def test_requests_are_open_together_and_leave_nothing_to_the_servers_defaults(talk, behaviour):
    with vllm_double.served(behaviour) as url:
        play(VLLMPolicy.server(url, talk), temperature=1.0)
    assert behaviour.most_open > 1
    for body in behaviour.asked:
        assert (body["temperature"], body["top_p"], body["top_k"], body["min_p"]) == (1.0, 1.0, 0, 0.0)
        assert (body["stop_token_ids"], body["ignore_eos"]) == ([talk.end_id], True)
    seeds = [body["seed"] for body in behaviour.asked]
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) < 2**63, "vLLM's seeds are 64-bit integers with a sign"


def test_one_failure_passes(talk, behaviour):
    with vllm_double.served(behaviour) as url:
        policy = VLLMPolicy.server(url, talk, **FAST)
        expected = play(policy)
        behaviour.failures = [500, 503]
        same(play(policy), expected)
        assert not behaviour.failures


def test_a_server_that_dies_midway_is_tried_again_and_said_in_one_line(talk, behaviour):
    with vllm_double.served(behaviour) as url:
        policy = VLLMPolicy.server(url, talk, **FAST)
        behaviour.dead_after, behaviour.connections = 2, 0
        with pytest.raises(UserError, match="was tried 3 times and cannot be reached") as raised:
            play(policy, NAMES[1:2] * 2, batch_size=1)
    assert "\n" not in str(raised.value)
    assert len(behaviour.asked) == 2
    assert behaviour.connections == 2 + 3, "two answers, then three tries of one request"


def test_a_dead_server_does_not_make_every_row_wait(talk, behaviour):
    with vllm_double.served(behaviour) as url:
        policy = VLLMPolicy.server(url, talk, backoff_s=0.2, retries=2, connections=2)
        behaviour.dead_after = 0
        started = time.perf_counter()
        with pytest.raises(UserError, match="cannot be reached"):
            play(policy, NAMES * 8)
        assert time.perf_counter() - started < 5, "40 rows, two at a time, of 0.6 s each would be 12 s"


def test_an_error_that_stays_is_said_with_the_servers_words(talk, behaviour):
    with vllm_double.served(behaviour) as url:
        policy = VLLMPolicy.server(url, talk, **FAST)
        behaviour.failures = [500] * 100
        with pytest.raises(UserError, match=r"tried 3 times and answers 500 \(EngineCore encountered an issue\)"):
            play(policy, NAMES[:1])
        behaviour.failures = [400]
        with pytest.raises(UserError, match=r"refuses a request \(400\): EngineCore"):
            play(policy, NAMES[:1])
        assert not behaviour.failures, "what will not pass is not tried again"


def test_wrong_addresses_names_and_keys(talk, behaviour):
    with vllm_double.served(behaviour) as url:
        with pytest.raises(UserError, match="does not serve 'huge': choose from tiny, or start it"):
            VLLMPolicy.server(url, talk, "huge")
        assert VLLMPolicy.server(url + "/v1/", talk, "tiny")
        behaviour.key = "secret"
        with pytest.raises(UserError, match="refuses the key"):
            VLLMPolicy.server(url, talk)
        assert spoken(play(VLLMPolicy.server(url, talk, api_key="secret"), NAMES[:1]))
    with pytest.raises(UserError, match="tried 3 times and cannot be reached"):
        VLLMPolicy.server(url, talk, **FAST)
    with pytest.raises(UserError, match="give an address like"):
        VLLMPolicy.server("localhost:8000", talk, **FAST)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"logprobs": False}, "without log-probabilities"),
        ({"ids": "text"}, "names tokens as text"),
        ({"drops_end": True}, "without the chat format's end token"),
    ],
)
def test_answers_that_training_cannot_use(talk, model, settings, message):
    with vllm_double.served(Behaviour(model, **settings)) as url, pytest.raises(UserError, match=message):
        play(VLLMPolicy.server(url, talk))


def test_logprobs_before_the_temperature_are_noticed(talk, behaviour):
    behaviour.raw_logprobs = True
    with vllm_double.served(behaviour) as url:
        policy = VLLMPolicy.server(url, talk)
        with pytest.raises(UserError, match="--logprobs-mode processed_logprobs"):
            play(policy, temperature=0.7)
        assert play(policy, NAMES[:1], temperature=1.0)


def test_the_engine_is_given_what_it_needs_and_left_empty(model, talk, monkeypatch):
    vllm = vllm_double.module(model)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    policy = VLLMPolicy.colocated("some/model", talk, gpu_memory_utilization=0.4)
    assert vllm.settings["logprobs_mode"] == "processed_logprobs"
    assert (vllm.settings["model"], vllm.settings["gpu_memory_utilization"]) == ("some/model", 0.4)
    with policy.session(2, max_length=100, max_action_tokens=4, temperature=0.0) as session:
        session.submit([rollout.Request(row, talk.first("x"), row) for row in range(2)])
        assert [response.row for response in session.poll()] == [1]
    assert len(vllm.engine.aborted) == 1


def test_without_vllm_says_what_to_install(talk, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match="pip install"):
        VLLMPolicy.colocated("tiny", talk)


def test_a_pool_and_a_server_work_together(talk, behaviour):
    factories = [partial(World, name, win_after=number + 1) for number, name in enumerate(NAMES)]
    with vllm_double.served(behaviour) as url, rollout.pools.processes(factories, workers=2) as environments:
        policy = VLLMPolicy.server(url, talk)
        pooled = rollout.collect(policy, environments, max_steps=3, max_length=2000, max_action_tokens=5)
        same(pooled, play(policy))
    assert threading.active_count() < 50
    assert all(math.isfinite(value) for episode in pooled for turn in episode.turns for value in turn.logprobs)
