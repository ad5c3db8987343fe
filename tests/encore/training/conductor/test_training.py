"""GRPO on several rewards: what it computes, what must not matter to it, and that it learns."""

from __future__ import annotations

import inspect

import pytest
import torch
from trl import GRPOTrainer

from encore.errors import UserError
from encore.training.conductor import MultiRewardSettings, Prompt, responses
from encore.training.conductor.prompts import prompt_order

from .conftest import PROMPTS, REWARDS, Recorded, gradients, places_of, small


def close(first, second, tolerance=1e-5) -> bool:
    return all(torch.allclose(value, second[name], atol=tolerance) for name, value in first.items())


def hand_loss(model, chat, trainer) -> torch.Tensor:
    """-(sum of A log p over response tokens) / tokens, response by response, under the mean of ranked rewards."""
    places = places_of(trainer)
    size, rl = trainer.rl.group_size, trainer.rl
    ids = [chat.first(PROMPTS[place].text) for place in places]
    seeds = [responses.response_seed(0, 0, row) for row in range(len(ids))]
    answers = responses.answer(
        model, chat, ids, seeds, max_response_tokens=6, temperature=rl.temperature, rows=rl.rollout_batch
    )
    logprobs, rewards = [], []
    for prompt, answer in zip(ids, answers, strict=True):
        logits = model(torch.tensor([prompt + answer.token_ids])).logits[0].float() / rl.temperature
        every = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        logprobs.append(every.gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0])
        entropy = float(-(every.exp() * every).detach().sum(-1).mean())
        rewards.append([-float(len(answer.token_ids) - answer.ended), entropy])
    total, tokens = torch.zeros(()), sum(len(answer.token_ids) for answer in answers)
    for start in range(0, len(answers), size):
        group = rewards[start : start + size]
        ranked = []
        for channel in range(2):
            values = [row[channel] for row in group]
            ranked.append(
                [(sum(b < a for b in values) + (sum(b == a for b in values) - 1) / 2) / (size - 1) for a in values]
            )
        scores = torch.tensor(ranked).mean(dim=0)
        if float(scores.max() - scores.min()) < 1e-7:
            continue
        advantages = (scores - scores.mean()) / (scores.std() + 1e-4)
        for member in range(size):
            total = total - advantages[member] * logprobs[start + member].sum()
    return total / tokens


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_gradient_equals_the_formula_written_by_hand(trainer_of, chat, start, temperature):
    rewards = {name: REWARDS[name] for name in ("length", "entropy")}
    trainer = trainer_of("equal", rewards, kl=0.0, temperature=temperature)
    start.zero_grad()
    hand_loss(start, chat, trainer).backward()
    expected = {name: value.grad for name, value in start.named_parameters()}
    assert max(float(value.abs().max()) for value in expected.values()) > 1e-3
    assert close(expected, gradients(trainer), 2e-5)
    start.zero_grad()


def test_device_batches_change_nothing(trainer_of):
    whole = gradients(trainer_of("conductor", device_batch=16))
    assert close(whole, gradients(trainer_of("conductor", device_batch=4)))
    assert not close(whole, gradients(trainer_of("equal", device_batch=16)), 1e-3), "weights do matter"


def test_equal_rewards_move_nothing(train, start, weights):
    """Neither the policy, nor the Conductor without its entropy bonus."""
    same = {"one": lambda prompts, **_: [0.3] * len(prompts), "two": lambda prompts, **_: [7.0] * len(prompts)}
    for name, parameters in (("equal", {}), ("random", {}), ("conductor", {"entropy_coefficient": 0.0})):
        trained, _, recorded = train(name, parameters, same, kl=0.0)
        assert all(torch.equal(value, weights(start)[key]) for key, value in weights(trained).items())
        assert recorded.values("reward/one/constant_groups") == [1.0] * 4
    assert recorded.values("weight/one") == [0.5] * 4


def test_learns(train):
    _, result, recorded = train(
        "single", {"reward": "length"}, steps=40, group_size=8, device_batch=32, learning_rate=5e-3, kl=0.0
    )
    length = recorded.values("rollout/response_tokens")
    assert result.steps == 40 and result.responses == 40 * 32
    assert sum(length[:3]) / 3 > 5.5
    assert sum(length[-3:]) / 3 < 4


def test_the_kind_of_weights_is_recorded(train):
    _, result, recorded = train("conductor", {"learning_rate": 0.1, "update_every": 2}, steps=4)
    assert recorded.values("weight/sure/word")[:2] == pytest.approx([1 / 3] * 2), "recorded from the first step on"
    assert recorded.values("weight/sure/word")[3] != pytest.approx(1 / 3)
    assert recorded.values("conductor/temperature")[0] == 1 and len(recorded.values("conductor/entropy")) == 4
    assert len(recorded.values("conductor/loss")) == 2
    assert [row["kind"] for row in result.weights] == ["free", "sure"]
    for row in result.weights:
        assert sum(row[name] for name in REWARDS) == pytest.approx(1)
    last = [line for line in result.history if line["step"] == 4]
    assert [line["weights"][0] for line in last] == [row["word"] for row in result.weights], "one step is a quarter"
    assert sum(line["responses"] for line in last) == 16


class Cut(Exception):
    """The end of a session."""


class CutAfter(Recorded):
    """Dies when a step after the checkpoint is recorded."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def curve(self, values, step):
        super().curve(values, step)
        if step == self.step:
            raise Cut


@pytest.mark.parametrize("name", ["conductor", "conductor_joint"])
def test_a_cut_run_ends_as_an_uncut_one(train, weights, tmp_path, name):
    """The checkpoint lies between two updates of the Conductor, and after a synchronisation of the reference."""
    settings = {"steps": 7, "checkpoint_every": 4, "schedule": "cosine", "reference_every": 3, "learning_rate": 5e-3}
    parameters = {"learning_rate": 0.05}
    whole, everything, lines = train(name, parameters, checkpoints=tmp_path / "whole", **settings)
    cut = CutAfter(6)
    with pytest.raises(Cut):
        train(name, parameters, checkpoints=tmp_path / "cut", progress=cut, **settings)
    assert cut.checkpoint == "checkpoint-4"
    again = Recorded()
    again.checkpoint = cut.checkpoint
    resumed, result, _ = train(name, parameters, checkpoints=tmp_path / "cut", progress=again, **settings)
    assert [step for step, _ in again.lines] == [5, 6, 7], "the curve goes on where it was"
    assert again.lines == lines.lines[4:]
    assert all(torch.equal(value, weights(whole)[key]) for key, value in weights(resumed).items())
    assert result.history == everything.history


def test_a_foreign_checkpoint_is_refused(train, tmp_path):
    (tmp_path / "old" / "checkpoint-2").mkdir(parents=True)
    progress = Recorded()
    progress.checkpoint = "checkpoint-2"
    with pytest.raises(UserError, match=r"has no scalarizer\.pt"):
        train(checkpoints=tmp_path / "old", progress=progress)


def test_the_reference_follows_every_few_steps(train):
    """Right after a synchronisation, and at the start, there is no divergence from it."""
    settings = {"steps": 6, "learning_rate": 5e-3, "kl": 0.01}
    synced = train("equal", reference_every=2, **settings)[2].values("rl/kl")
    assert synced[::2] == pytest.approx([0, 0, 0], abs=1e-7)
    assert min(synced[1::2]) > 1e-5
    fixed = train("equal", reference_every=0, **settings)[2].values("rl/kl")
    assert fixed[0] == pytest.approx(0, abs=1e-7) and min(fixed[1:]) > 1e-5
    half = train("equal", reference_every=2, reference_share=0.5, **settings)[2].values("rl/kl")
    assert half[2] > 1e-6


def test_rewards_see_the_reference_that_follows(train):
    seen = []

    def about_reference(prompts, reference, **_):
        seen.append(float(reference.get_input_embeddings().weight.detach().double().sum()))
        assert not reference.training
        return [0.0] * len(prompts)

    train("equal", rewards={**REWARDS, "reference": about_reference}, steps=5, reference_every=2, kl=0.0)
    assert seen[0] == seen[1] != seen[2] == seen[3] != seen[4]


def test_rewards_see_the_entropies_of_the_policy_that_answered(trainer_of, chat, start):
    seen = []

    def about_entropy(prompts, completions, completion_ids, ended, entropies, log_probs, wanted, kind, **_):
        seen.append((list(prompts), list(completion_ids), list(ended), list(entropies), list(log_probs)))
        return [0.0] * len(prompts)

    gradients(trainer_of("equal", {"entropy": about_entropy, "length": REWARDS["length"]}, temperature=0.7))
    assert len(seen) == 2, "once for each device batch"
    for prompts, ids, ended, entropies, logprobs in seen:
        for row, prompt in enumerate(prompts):
            tokens = ids[row] + [chat.end_id] * ended[row]
            before = chat.first(prompt)
            with torch.no_grad():
                logits = start(torch.tensor([before + tokens])).logits[0, len(before) - 1 : -1] / 0.7
            every = logits.log_softmax(-1)
            assert torch.allclose(entropies[row], -(every.exp() * every).sum(-1), atol=1e-4)
            assert torch.allclose(logprobs[row], every.gather(1, torch.tensor(tokens)[:, None])[:, 0], atol=1e-4)


def test_the_joint_conductor_learns_from_the_policys_loss(train):
    """From lengths alone, since advantages sum to 0: with a mean over responses first there is nothing to learn."""
    settings = {"steps": 3, "prompts_per_step": 8, "group_size": 8, "device_batch": 64, "max_response_tokens": 12}
    by_token = train("conductor_joint", loss_normalization="token", **settings)[2]
    assert max(by_token.values("conductor/gradient_norm")) > 1e-5
    with pytest.raises(UserError, match=r"no gradient in it under rl\.loss_normalization response"):
        train("conductor_joint", loss_normalization="response", **settings)


def test_incomplete_groups_are_never_trained_on(trainer_of):
    trainer = trainer_of()
    places = places_of(trainer)
    with pytest.raises(AssertionError, match="groups of 4 are not complete"):
        trainer._answer([places[-1], *places[:-1]])
    with pytest.raises(AssertionError, match="groups of 4 are not complete"):
        trainer._answer(places[:-4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group_size": 1}, "at least 2 responses"),
        ({"device_batch": 3}, "holds whole groups"),
        ({"temperature": 0.0}, "must be positive"),
        ({"kl": -1.0}, "at least 0"),
        ({"reference_share": 0.0}, "reference_share is 0.0"),
        ({"steps": 0}, r"rl\.steps is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        small(**changes)


def test_what_does_not_fit_is_refused(train):
    with pytest.raises(UserError, match="no prompt to train on"):
        train(prompts=())
    with pytest.raises(UserError, match="differ in the column 'wanted'"):
        train(prompts=[*PROMPTS, Prompt("say nothing")])
    with pytest.raises(UserError, match=r"lower rl\.max_response_tokens"):
        train(max_response_tokens=60)
    with pytest.raises(UserError, match="names 'colour': the rewards are word, length, entropy"):
        train(normalization_by_reward={"colour": "raw"})


def test_device_steps_hold_equal_numbers_of_whole_groups():
    assert MultiRewardSettings(prompts_per_step=8, group_size=8, device_batch=32).device_steps == 2
    assert MultiRewardSettings(prompts_per_step=6, group_size=8, device_batch=32).device_steps == 2
    assert MultiRewardSettings(prompts_per_step=5, group_size=8, device_batch=32).device_steps == 5
    assert MultiRewardSettings(prompts_per_step=4, group_size=8, device_batch=1000).device_steps == 1


def test_every_prompt_is_answered_equally_often():
    order = prompt_order(32, MultiRewardSettings(steps=10, prompts_per_step=16), seed=0)
    assert {order.count(place) for place in range(32)} == {5}


def test_trl_still_has_what_is_replaced():
    """Private names of TRL that the trainer overrides or reads; if TRL moves them this says so first."""
    assert list(inspect.signature(GRPOTrainer._prepare_inputs).parameters) == ["self", "generation_batch"]
    wanted = ["self", "model", "input_ids", "attention_mask", "logits_to_keep"]
    assert list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)[:5] == wanted
    assert list(inspect.signature(GRPOTrainer._compute_loss).parameters) == ["self", "model", "inputs"]
    source = inspect.getsource(GRPOTrainer._compute_loss)
    forward, advantages = source.index("self._get_per_token_logps_and_entropies("), source.index('inputs["advantages"]')
    assert source.count("self._get_per_token_logps_and_entropies(") == 1, "one forward pass"
    assert source.count('inputs["advantages"]') == 1 and forward < advantages, "advantages are read after it"
    assert 'mask = completion_mask if "tool_mask" not in inputs' in source, "a dropped response leaves this very tensor"
    assert source.index("mask = completion_mask") < forward
    assert "self._step" in inspect.getsource(GRPOTrainer.training_step)
