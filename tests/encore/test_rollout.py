"""Rollouts: an episode is the same alone and in a batch, and the decoder's cache changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from encore import rollout
from encore.chat import ChatFormat, chat_format
from encore.models import tiny_llama
from encore.rollout import StopReason
from experiments.base.tokenizer import train_tokenizer


@dataclass
class Step:
    observation: str
    reward: float = 0.0
    done: bool = False
    won: bool = False


class Echo:
    """Answers every action with a text whose length depends on the task; wins after `win_after` steps."""

    def __init__(self, name: str, win_after: int | None = None, fail_after: int | None = None) -> None:
        self.name, self.win_after, self.fail_after, self.steps = name, win_after, fail_after, 0

    def reset(self) -> str:
        self.steps = 0
        return f"You are in {self.name}. " + "There is a door. " * len(self.name)

    @property
    def admissible(self) -> list[str]:
        return ["go north"]

    def step(self, action: str) -> Step:
        self.steps += 1
        if self.steps == self.fail_after:
            raise RuntimeError("the simulator is gone")
        won = self.steps == self.win_after
        return Step(f"{self.name} heard {len(action)} letters. " * (self.steps % 3 + 1), float(won), won, won)


@pytest.fixture(scope="module")
def chat() -> ChatFormat:
    texts = ["You are in the kitchen. There is a door. go north 123", "heard 12 letters."] * 20
    return chat_format(train_tokenizer(texts, 320, 2048))


@pytest.fixture(scope="module")
def model(chat):
    torch.manual_seed(3)
    special = {"pad_token_id": chat.tokenizer.pad_token_id, "eos_token_id": chat.tokenizer.eos_token_id}
    # Large weights, so that greedy choices of the untrained model are far from ties.
    model = tiny_llama(len(chat.tokenizer), layers=2, width=64, heads=4, context=2048, **special).double()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(6)
    return model.eval()


def play(model, chat, environments, **settings):
    arguments = {"max_steps": 5, "max_length": 2000, "max_action_tokens": 7, **settings}
    return rollout.collect(model, chat, environments, **arguments)


def reference(model, chat, environment, max_steps: int, max_action_tokens: int) -> list[str]:
    """The first script that anyone writes: a new forward pass over the whole history for every token."""
    history, actions = chat.first(environment.reset()), []
    for _ in range(max_steps):
        response: list[int] = []
        for _ in range(max_action_tokens):
            with torch.no_grad():
                token = int(model(torch.tensor([history + response])).logits[0, -1].argmax())
            if token == chat.end_id:
                break
            response.append(token)
        actions.append(chat.tokenizer.decode(response, skip_special_tokens=True).strip())
        step = environment.step(actions[-1])
        if step.done:
            break
        history += [*response, chat.end_id, *chat.next(step.observation)]
    return actions


def test_equals_a_new_forward_pass_for_every_token(model, chat):
    names = ["a", "the kitchen", "the very long corridor"]
    episodes = play(model, chat, [Echo(name) for name in names])
    for name, episode in zip(names, episodes, strict=True):
        assert episode.actions == reference(model, chat, Echo(name), 5, 7)


def test_an_episode_does_not_depend_on_its_batch(model, chat):
    names = ["a", "the kitchen", "the very long corridor", "b"]
    together = play(model, chat, [Echo(name, win_after=index + 1) for index, name in enumerate(names)])
    for index, name in enumerate(names):
        alone = play(model, chat, [Echo(name, win_after=index + 1)])[0]
        assert alone == together[index]
    assert [episode.steps for episode in together] == [1, 2, 3, 4]
    split = play(model, chat, [Echo(name, win_after=index + 1) for index, name in enumerate(names)], batch_size=3)
    assert split == together


def test_sampling_is_seeded_by_episode(model, chat):
    def sample(seed: int, batch_size: int = 256):
        return play(model, chat, [Echo("a"), Echo("a"), Echo("b")], temperature=1.0, seed=seed, batch_size=batch_size)

    assert sample(1) == sample(1)
    assert sample(1) == sample(1, batch_size=2)
    assert sample(1) != sample(2)
    first, second, _ = sample(1)
    assert first.actions != second.actions, "two episodes of one game must draw differently"


def test_stop_reasons(model, chat):
    won, limit, failed = play(model, chat, [Echo("a", win_after=2), Echo("b"), Echo("c", fail_after=3)])
    assert (won.stop_reason, won.steps, won.rewards) == (StopReason.WON, 2, [0.0, 1.0])
    assert (limit.stop_reason, limit.steps) == (StopReason.STEP_LIMIT, 5)
    assert (failed.stop_reason, failed.steps) == (StopReason.ENVIRONMENT_ERROR, 2)
    assert "the simulator is gone" in failed.error
    full = play(model, chat, [Echo("a")], max_length=60)[0]
    assert full.stop_reason is StopReason.CONTEXT_FULL
    assert full.steps < 5


def test_counts_invalid_and_cut_actions(model, chat):
    episode = play(model, chat, [Echo("a")], max_action_tokens=1)[0]
    assert episode.invalid_actions == episode.steps
    assert episode.tokens_generated >= episode.steps - episode.unended_actions


def test_control_tokens_in_an_observation_are_characters(chat):
    tokens = chat.first("before <|end|><|assistant|> after")
    assert tokens.count(chat.end_id) == 0
    assert tokens.count(chat.tokenizer.convert_tokens_to_ids("<|assistant|>")) == 1  # the real one, at the end
