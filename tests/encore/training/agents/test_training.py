"""Reinforcement learning of an agent: what it computes, what must not matter to it, and that it learns."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from trl import GRPOTrainer

from encore import rollout
from encore.errors import UserError
from encore.training.agents import AgentRLSettings, AgentTrainer, CollapseError, GuardSettings
from encore.training.agents.trainer import episode_seed
from encore.training.agents.training import task_order

from .conftest import Recorded, Secret


def close(first, second, tolerance=1e-5) -> bool:
    return all(torch.allclose(value, second[name], atol=tolerance) for name, value in first.items())


def trainer_of(model, chat, tmp_path, **changes) -> AgentTrainer:
    defaults = {"tasks_per_iteration": 4, "group_size": 4, "max_action_tokens": 6, "iterations": 2}
    settings = AgentRLSettings(**{**defaults, **changes})
    return AgentTrainer(
        copy.deepcopy(model),
        chat,
        Secret,
        task_order(64, settings, 0),
        settings,
        max_steps=4,
        max_length=200,
        seed=0,
        checkpoints=tmp_path,
        progress=Recorded(),
    )


def hand_loss(model, chat, trainer, clip=None) -> torch.Tensor:
    """-(sum of A log p over sampled tokens) / tokens, episode by episode, from nothing but the episodes."""
    size = trainer.rl.group_size
    tasks = [task for task in trainer.train_dataset["task"][: trainer.rl.tasks_per_iteration] for _ in range(size)]
    episodes = rollout.collect(
        rollout.TransformersPolicy(model, chat),
        [Secret(task) for task in tasks],
        max_steps=4,
        max_length=200,
        max_action_tokens=6,
        temperature=trainer.rl.temperature,
        seeds=[episode_seed(0, 0, place) for place in range(len(tasks))],
    )
    total, tokens = torch.zeros(()), 0
    for start in range(0, len(episodes), size):
        group = episodes[start : start + size]
        returns = torch.tensor([sum(e.rewards) - trainer.rl.invalid_penalty * e.invalid_actions for e in group])
        constant = float(returns.max() - returns.min()) == 0
        for episode, value in zip(group, returns, strict=True):
            advantage = 0.0 if constant else float((value - returns.mean()) / (returns.std() + 1e-4))
            ids: list[int] = []
            for turn in episode.turns:
                ids += turn.context_ids
                logits = model(torch.tensor([ids + turn.response_ids])).logits[0].float() / trainer.rl.temperature
                logprobs = logits.log_softmax(-1)
                for place, token in enumerate(turn.response_ids):
                    total = total - advantage * logprobs[len(ids) + place - 1, token]
                tokens += len(turn.response_ids)
                ids += turn.response_ids
    return total / tokens


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_gradient_equals_the_formula_written_by_hand(start, chat, tmp_path, temperature):
    trainer = trainer_of(start, chat, tmp_path, temperature=temperature, device_batch=3)
    model = copy.deepcopy(start)
    hand_loss(model, chat, trainer).backward()
    rows = [{"task": task} for task in trainer.train_dataset["task"][:4] for _ in range(4)]
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    for batch in trainer._iterate([row["task"] for row in rows]):
        trainer._compute_loss(trainer.model, batch).backward()
    expected = {name: value.grad for name, value in model.named_parameters()}
    found = {name: value.grad for name, value in trainer.model.named_parameters()}
    assert max(float(value.abs().max()) for value in expected.values()) > 1e-3
    assert close(expected, found, 1e-5)


def test_the_sampled_log_probabilities_are_the_training_forwards(start, chat, tmp_path):
    trainer = trainer_of(start, chat, tmp_path, updates=2, temperature=0.8)
    for batch in trainer._iterate([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]):
        with torch.no_grad():
            logprobs, _, _ = trainer._get_per_token_logps_and_entropies(
                trainer.model,
                torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
                torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
                batch["completion_ids"].shape[1],
            )
        mask = (batch["completion_mask"] * batch["tool_mask"]).bool()
        assert torch.allclose(logprobs[mask], batch["old_per_token_logps"][mask], atol=1e-4)


def test_learns(train):
    _, result, recorded = train(iterations=45, tasks_per_iteration=8)
    success = recorded.values("rollout/success")
    assert result.iterations == len(success) == 45
    assert sum(success[:3]) / 3 < 0.3
    assert sum(success[-3:]) / 3 > 0.8
    assert result.episodes == 45 * 64
    assert recorded.counts["environment_steps"] == 45 * 64 * 2


def test_gigpo_learns(train):
    _, _, recorded = train(iterations=45, tasks_per_iteration=8, algorithm="gigpo")
    assert sum(recorded.values("rollout/success")[-3:]) / 3 > 0.8


def test_inverted_reward_lowers_success(train):
    _, _, up = train(iterations=12, tasks_per_iteration=8)
    trained, _, _ = train(
        iterations=12, tasks_per_iteration=8, outcome=lambda episode: -float(sum(episode.rewards)), model=None
    )
    _, _, after = train(iterations=1, tasks_per_iteration=8, model=trained)
    assert after.values("rollout/success")[0] < up.values("rollout/success")[0]


def test_equal_rewards_move_nothing(train, start, weights):
    trained, _, recorded = train(outcome=lambda episode: 1.0, invalid_penalty=0.0, skip_constant_groups=False)
    assert all(torch.equal(value, weights(start)[name]) for name, value in weights(trained).items())
    assert recorded.values("rollout/constant_groups") == [1.0] * 3
    skipped, _, _ = train(outcome=lambda episode: 1.0, invalid_penalty=0.0, skip_constant_groups=True)
    assert all(torch.equal(value, weights(start)[name]) for name, value in weights(skipped).items())


def test_device_batches_and_skipping_change_nothing(train, weights):
    reference = weights(train()[0])
    assert close(weights(train(device_batch=2)[0]), reference)
    assert close(weights(train(skip_constant_groups=False)[0]), reference)
    assert not close(weights(train(seed=1)[0]), reference)


def test_counts_say_what_was_computed(train):
    _, _, everything = train(skip_constant_groups=False)
    _, _, moving = train(skip_constant_groups=True)
    assert 0 < moving.counts["tokens_trained"] <= everything.counts["tokens_trained"]


class Cut(Exception):
    """The end of a session."""


class CutAfter(Recorded):
    """Dies when the iteration after the checkpoint is recorded."""

    def __init__(self, iteration: int) -> None:
        super().__init__()
        self.iteration = iteration

    def curve(self, values, step):
        super().curve(values, step)
        if step == self.iteration:
            raise Cut


@pytest.mark.parametrize("updates", [1, 2])
def test_a_cut_run_ends_as_an_uncut_one(train, weights, tmp_path, updates):
    settings = {"iterations": 6, "checkpoint_every": 2, "updates": updates, "schedule": "cosine"}
    whole, _, everything = train(**settings, checkpoints=tmp_path / "whole")
    cut = CutAfter(5)
    with pytest.raises(Cut):
        train(**settings, checkpoints=tmp_path / "cut", progress=cut)
    assert cut.checkpoint == f"checkpoint-{4 * updates}"
    again = Recorded()
    again.checkpoint = cut.checkpoint
    resumed, _, _ = train(**settings, checkpoints=tmp_path / "cut", progress=again)
    assert [step for step, _ in again.lines] == [5, 6], "the curve goes on where it was"
    assert again.lines == [line for line in everything.lines if line[0] > 4]
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


def test_kl_starts_at_nothing_and_holds_the_policy(train, start, weights):
    free, _, _ = train(iterations=8)
    held, _, recorded = train(iterations=8, kl=5.0)
    assert recorded.values("rl/kl")[0] == pytest.approx(0, abs=1e-6), "the reference is the start"
    assert recorded.values("rl/kl")[-1] > 0
    origin = weights(start)

    def moved(model):
        return sum(float((value - origin[name]).square().sum()) for name, value in weights(model).items())

    assert moved(held) < moved(free)


def test_more_updates_clip(train):
    _, _, recorded = train(updates=4, learning_rate=5e-3, iterations=4)
    assert max(recorded.values("rl/clipped_share")) > 0
    _, _, once = train(updates=1, learning_rate=5e-3, iterations=4)
    assert max(once.values("rl/clipped_share")) == 0, "on its own policy's samples a ratio is 1"


def test_lora_trains_an_adapter_and_merges_it(train, start, weights):
    trained, _, recorded = train(lora_rank=4, learning_rate=1e-2, iterations=6, kl=0.01)
    origin = weights(start)
    after = weights(trained)
    assert set(after) == set(origin), "merged: no adapter is left"
    changed = {name for name in origin if not torch.equal(origin[name], after[name])}
    assert changed and all("proj" in name for name in changed)
    assert recorded.values("rl/kl")[0] == pytest.approx(0, abs=1e-6)


def test_gradient_checkpointing_changes_nothing(train, weights):
    assert close(weights(train(gradient_checkpointing=True)[0]), weights(train()[0]))


def test_the_guard_stops_a_collapse(train):
    with pytest.raises(CollapseError, match=r"the policy collapsed: entropy above 0\.1 in 2 iterations up to 2"):
        train(guard=GuardSettings(max_entropy=0.1, patience=2), iterations=6)

    class Silly(Secret):
        admissible = ("nothing that is ever said",)

    with pytest.raises(CollapseError, match=r"invalid_share above 0\.8 in 3 iterations"):
        train(environment=Silly, iterations=6)


def test_a_failing_environment_ends_its_episode_only(train):
    class Fragile(Secret):
        def step(self, action):
            if self.task % 4 == 0:
                raise RuntimeError("the simulator is gone")
            return super().step(action)

    with pytest.raises(UserError, match="the simulator is gone"):
        train(environment=Fragile, iterations=4, max_error_share=0.0)
    _, result, recorded = train(environment=Fragile, iterations=4, max_error_share=1.0)
    assert result.iterations == 4
    assert max(recorded.values("rollout/stop/environment_error")) > 0


def test_numbers_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match=r"no multiple of rl\.updates"):
        AgentRLSettings(tasks_per_iteration=6, updates=4)
    with pytest.raises(UserError, match="no multiple of processes x updates"):
        AgentRLSettings(tasks_per_iteration=6, updates=2).accumulation(processes=2)
    with pytest.raises(UserError, match="at least 2 episodes"):
        AgentRLSettings(group_size=1)
    assert AgentRLSettings(tasks_per_iteration=16, group_size=8, device_batch=32).accumulation(1) == 4
    assert AgentRLSettings(tasks_per_iteration=16, group_size=8, device_batch=32, updates=2).accumulation(2) == 1


def test_no_task_and_unknown_algorithm_are_refused(train):
    with pytest.raises(UserError, match="choose from grpo, gigpo"):
        train(algorithm="reinforce")


def test_trl_still_has_what_is_replaced():
    """Private names of TRL that the trainer overrides or reads; if TRL moves them this says so first."""
    assert list(inspect.signature(GRPOTrainer._prepare_inputs).parameters) == ["self", "generation_batch"]
    wanted = ["self", "model", "input_ids", "attention_mask", "logits_to_keep"]
    assert list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)[:5] == wanted
    source = inspect.getsource(GRPOTrainer._compute_loss)
    for key in (
        "tool_mask",
        "old_per_token_logps",
        "ref_per_token_logps",
        "num_items_in_batch",
        "advantages.dim() == 1",
    ):
        assert key in source, key
    assert "self._step" in inspect.getsource(GRPOTrainer.training_step)


def test_every_task_is_played_equally_often():
    settings = AgentRLSettings(iterations=10, tasks_per_iteration=16)
    order = task_order(32, settings, seed=0)
    assert len(order) == 160
    assert {order.count(task) for task in range(32)} == {5}
    assert order != task_order(32, settings, seed=1)
