"""Rows share slots of one cache; no episode may notice."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch

from encore import rollout
from encore.rollout import SingleTurn, StopReason, TransformersPolicy


@dataclass
class Step:
    observation: str
    reward: float = 0.0
    done: bool = False
    won: bool = False


class Rooms:
    """Texts of random length and an end after a random number of steps, both drawn from the game's own number."""

    def __init__(self, game: int, talkative: bool = False) -> None:
        self.game, self.talkative = game, talkative

    def reset(self) -> str:
        self.draws = random.Random(self.game)
        self.left = self.draws.randint(1, 6)
        self.steps = 0
        return f"Room {self.game}. " + "There is a door. " * self.draws.randint(1, 9)

    @property
    def admissible(self) -> list[str]:
        return ["go north", "look"]

    def step(self, action: str) -> Step:
        self.left -= 1
        self.steps += 1
        words = 40 if self.talkative else self.draws.randint(0, 4)
        return Step(f"heard {len(action)}. " + "door " * words, float(self.left == 0), self.left == 0, self.left == 0)


def play(model, chat, environments, **settings):
    arguments = {"max_steps": 8, "max_length": 1500, "max_action_tokens": 5, **settings}
    episodes = rollout.collect(TransformersPolicy(model, chat), environments, **arguments)
    for episode in episodes:
        for turn in episode.turns:
            turn.logprobs = [round(value, 9) + 0.0 for value in turn.logprobs]
    return episodes


def test_a_finished_episode_is_replaced_at_once(scripted):
    """As long as an environment waits, as many rows are asked at a time as the batch has."""
    policy = scripted("look")
    asked: list[set[int]] = []
    poll = policy.poll
    policy.poll = lambda: (asked.append({request.row for request in policy.open}), poll())[1]
    games = [Rooms(game) for game in range(12)]
    rollout.collect(policy, games, max_steps=8, max_length=1500, batch_size=4)
    begun = 0
    for rows in asked:
        begun = max(begun, max(rows) + 1)
        assert len(rows) == 4 or begun == 12
    assert sum(map(len, asked)) == sum(game.steps for game in games)


@pytest.mark.parametrize("prompt", [None, SingleTurn(history=1)], ids=["conversation", "single turn"])
@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_groups_larger_than_the_batch_reuse_slots_unnoticed(model, chat, prompt, batch_size):
    """Slots are taken over in the middle of groups, by members of the same group and of the next."""
    games = [game for game in range(4) for _ in range(4)]
    settings = {"temperature": 1.0, "prompt": prompt}
    together = play(model, chat, [Rooms(game) for game in games], **settings)
    assert len({episode.steps for episode in together}) > 2, "rows end at different times"
    assert play(model, chat, [Rooms(game) for game in games], batch_size=batch_size, **settings) == together
    for first in range(0, len(games), 4):
        assert len({str(episode.turns) for episode in together[first : first + 4]}) == 4, "a group draws four times"


def test_a_full_context_ends_one_row_and_no_other(model, chat):
    """Rows whose context fills in the middle of the batch leave it; the others are as if alone."""
    kinds = [True, False, True, False, False, True]
    games = [Rooms(game, talkative) for game, talkative in enumerate(kinds)]
    episodes = play(model, chat, games, max_length=220, batch_size=3)
    reasons = {episode.stop_reason for episode in episodes}
    assert {StopReason.CONTEXT_FULL, StopReason.WON} <= reasons
    for index, episode in enumerate(episodes):
        assert play(model, chat, [Rooms(index, kinds[index])], max_length=220) == [episode]
        assert all(len(sequence.input_ids) <= 220 for sequence in rollout.sequences(episode))


def test_a_first_prompt_that_does_not_fit_takes_no_slot(model, chat):
    class Endless(Rooms):
        def reset(self) -> str:
            return super().reset() + "door " * 500

    environments = [Endless(0), Rooms(1), Endless(2), Endless(3), Rooms(4)]
    episodes = play(model, chat, environments, max_length=400, batch_size=1)
    assert [episode.stop_reason is StopReason.CONTEXT_FULL for episode in episodes] == [True, False, True, True, False]
    assert not episodes[0].turns
    assert rollout.sequences(episodes[0]) == []


@pytest.mark.parametrize("prompt", [None, SingleTurn(history=2)], ids=["conversation", "single turn"])
def test_logprobs_of_reused_slots_are_those_of_one_training_forward(model, chat, prompt):
    episodes = play(
        model, chat, [Rooms(game) for game in (0, 0, 1, 1, 2, 2)], batch_size=3, temperature=0.8, prompt=prompt
    )
    for episode in episodes:
        for sequence in rollout.sequences(episode):
            with torch.no_grad():
                logits = model(torch.tensor([sequence.input_ids])).logits[0]
            expected = torch.log_softmax(logits[:-1] / 0.8, dim=-1)
            expected = expected.gather(1, torch.tensor(sequence.input_ids[1:])[:, None])[:, 0]
            mask = torch.tensor(sequence.response_mask[1:]).bool()
            kept = torch.tensor(sequence.logprobs[1:], dtype=torch.float64)
            torch.testing.assert_close(kept[mask], expected[mask], atol=1e-6, rtol=0)


def test_slots_and_anchors_match_turns(model, chat):
    for episode in play(model, chat, [Rooms(game) for game in range(5)], batch_size=2):
        assert len(episode.anchors) == len(episode.turns) == episode.steps
        assert episode.anchors == episode.observations[: episode.steps]
