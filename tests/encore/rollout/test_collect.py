"""Rollouts: an episode is the same alone and in a batch, and the decoder's cache changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from encore import rollout
from encore.rollout import StopReason, TransformersPolicy


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


def play(model, chat, environments, **settings):
    arguments = {"max_steps": 5, "max_length": 2000, "max_action_tokens": 7, **settings}
    return rollout.collect(TransformersPolicy(model, chat), environments, **arguments)


def rounded(episodes):
    """Log-probabilities differ in the last digits between batches; all else must be equal."""
    for episode in episodes:
        for turn in episode.turns:
            turn.logprobs = [round(value, 9) + 0.0 for value in turn.logprobs]
    return episodes


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


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_episode_does_not_depend_on_its_batch(model, chat, temperature):
    names = ["a", "the kitchen", "the very long corridor", "b"]

    def environments() -> list[Echo]:
        return [Echo(name, win_after=index + 1) for index, name in enumerate(names)]

    seeds = [11, 12, 13, 14]
    together = rounded(play(model, chat, environments(), temperature=temperature, seeds=seeds))
    for index, name in enumerate(names):
        alone = play(model, chat, [Echo(name, win_after=index + 1)], temperature=temperature, seeds=[seeds[index]])
        assert rounded(alone) == [together[index]]
    assert [episode.steps for episode in together] == [1, 2, 3, 4]
    for batch_size in (1, 2, 3):
        split = play(model, chat, environments(), temperature=temperature, seeds=seeds, batch_size=batch_size)
        assert rounded(split) == together
    backwards = play(model, chat, environments()[::-1], temperature=temperature, seeds=seeds[::-1], batch_size=2)
    assert rounded(backwards) == together[::-1]


def test_sampling_is_seeded_by_episode(model, chat):
    def sample(seed: int, batch_size: int = 256):
        return play(model, chat, [Echo("a"), Echo("a"), Echo("b")], temperature=1.0, seed=seed, batch_size=batch_size)

    assert rounded(sample(1)) == rounded(sample(1))
    assert rounded(sample(1)) == rounded(sample(1, batch_size=2))
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


class AnyOf(list):
    """A list for the prompt, and a rule for the answer, as WebShop's searches are."""

    def __contains__(self, action: object) -> bool:
        return isinstance(action, str)


def test_what_is_admissible_may_be_a_rule(model, chat):
    class Searchable(Echo):
        admissible = AnyOf(["search[...]"])

    episode = play(model, chat, [Searchable("a")])[0]
    assert episode.invalid_actions == 0
    assert all(turn.admissible for turn in episode.turns)


def test_control_tokens_in_an_observation_are_characters(chat):
    tokens = chat.first("before <|end|><|assistant|> after")
    assert tokens.count(chat.end_id) == 0
    assert tokens.count(chat.tokenizer.convert_tokens_to_ids("<|assistant|>")) == 1  # the real one, at the end


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logprobs_are_those_of_a_training_forward(model, chat, temperature):
    for episode in play(model, chat, [Echo("a"), Echo("the kitchen")], temperature=temperature):
        (sequence,) = rollout.sequences(episode)
        with torch.no_grad():
            logits = model(torch.tensor([sequence.input_ids])).logits[0].double()
        expected = torch.log_softmax(logits[:-1] / (temperature or 1.0), dim=-1)
        expected = expected.gather(1, torch.tensor(sequence.input_ids[1:])[:, None])[:, 0]
        mask = torch.tensor(sequence.response_mask[1:]).bool()
        assert mask.sum() == episode.tokens_generated
        kept = torch.tensor(sequence.logprobs[1:], dtype=torch.float64)
        torch.testing.assert_close(kept[mask], expected[mask], atol=1e-5, rtol=0)
        assert not kept[~mask].any()


def test_sequences_spell_the_conversation(model, chat):
    episode = play(model, chat, [Echo("the kitchen")])[0]
    (sequence,) = rollout.sequences(episode)
    history = chat.first(episode.observations[0])
    for turn, (answer, observation) in enumerate(zip(episode.turns, episode.observations[1:], strict=True)):
        history += answer.response_ids
        if turn + 1 < episode.steps:
            closed = answer.response_ids[-1] == chat.end_id
            history += [] if closed else [chat.end_id]
            history += chat.next(observation)
    assert sequence.input_ids == history
    assert sorted(set(sequence.turn)) == list(range(episode.steps))


def test_a_groups_first_prompt_is_computed_once(model, chat):
    counted: list[int] = []

    def count(module, arguments, settings):
        counted.append(settings["input_ids"].shape[1])

    handle = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        play(model, chat, [Echo("the kitchen")], max_steps=1, max_action_tokens=1)
        alone = sum(counted)
        counted.clear()
        play(model, chat, [Echo("the kitchen") for _ in range(8)], max_steps=1, max_action_tokens=1)
    finally:
        handle.remove()
    assert sum(counted) == alone + 7  # each other row computes its last prompt token, for its own logits


def test_the_model_is_left_as_it_was(model, chat):
    model.train()
    before = model.config._attn_implementation
    play(model, chat, [Echo("a")])
    assert model.training
    assert model.config._attn_implementation == before
    model.eval()
