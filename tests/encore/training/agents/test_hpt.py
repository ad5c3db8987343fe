"""HPT: which tasks are imitated, what is learned from them, and that both halves are what SFT and GRPO compute."""

from __future__ import annotations

import copy

import pytest
import torch

from encore.errors import UserError
from encore.rollout import Episode, StopReason
from encore.training.agents import AgentRLSettings, AgentTrainer, agent_rl, hpt
from encore.training.agents.training import task_order
from encore.trajectories import Trajectory, tokenize

from .conftest import COLOURS, Recorded, Secret, Step
from .test_training import Cut, CutAfter, close

TASKS = 64


class Generous(Secret):
    """Every episode is won, and what it is worth still differs."""

    def step(self, action: str) -> Step:
        found = super().step(action)
        return Step(found.observation, found.reward, found.done, found.done)


class Half(Secret):
    """Even tasks are won by every episode, odd ones by none."""

    def step(self, action: str) -> Step:
        found = super().step(action)
        return Step(found.observation, found.reward, found.done, found.done and self.task % 2 == 0)


class Never(Secret):
    """No episode is won."""

    def step(self, action: str) -> Step:
        found = super().step(action)
        return Step(found.observation, found.reward, found.done, False)


def shown(chat, actions):
    """A demonstration of each task, in which the expert says `actions(task)`."""
    found = []
    for task in range(TASKS):
        observations = [f"say {COLOURS[task % 4]}", "say black", "the end"]
        trajectory = Trajectory(str(task), "toy", "toy", "", observations, actions(task), won=True)
        found.append(tokenize(trajectory, chat))
    return found


@pytest.fixture(scope="module")
def demonstrations(chat):
    """Of unlike length, so that a mean over tokens is no mean over demonstrations."""
    return shown(chat, lambda task: ["red", "blue" if task % 2 else "blue blue"])


@pytest.fixture(scope="module")
def winning(chat):
    """What the environment wants."""
    return shown(chat, lambda task: ["red", "blue"])


@pytest.fixture
def trainer_of(start, chat, demonstrations, tmp_path):
    def make(environment, **changes) -> AgentTrainer:
        defaults = {
            "algorithm": "hpt",
            "tasks_per_iteration": 4,
            "group_size": 4,
            "max_action_tokens": 6,
            "iterations": 2,
            "device_batch": 3,
        }
        settings = AgentRLSettings(**{**defaults, **changes})
        return AgentTrainer(
            copy.deepcopy(start),
            chat,
            environment,
            task_order(TASKS, settings, 0),
            settings,
            max_steps=4,
            max_length=200,
            seed=0,
            checkpoints=tmp_path,
            progress=Recorded(),
            demonstrations=demonstrations if settings.algorithm == "hpt" else None,
        )

    return make


def learn(trainer, tasks, update=0):
    """Loss and gradients of one update on `tasks`, each played by its whole group, as the trainer computes them."""
    trainer.model.train()
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    steps = trainer._iterate([task for task in tasks for _ in range(trainer.rl.group_size)])
    each = trainer.args.gradient_accumulation_steps
    total = 0.0
    for batch in steps[update * each : (update + 1) * each]:
        loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
        total += float(loss.detach())
    return total, {name: value.grad.clone() for name, value in trainer.model.named_parameters()}


def sft_by_hand(model, examples):
    """-log p of every response token of the examples, one by one, averaged over all of them; and its gradients."""
    model = copy.deepcopy(model)
    total, tokens = torch.zeros(()), 0
    for example in examples:
        logprobs = model(torch.tensor([example.input_ids])).logits[0].float().log_softmax(-1)
        for place, (token, response) in enumerate(zip(example.input_ids, example.response_mask, strict=True)):
            if response:
                total = total - logprobs[place - 1, token]
                tokens += 1
    loss = total / tokens
    loss.backward()
    return float(loss.detach()), {name: value.grad for name, value in model.named_parameters()}


def largest(gradients) -> float:
    return max(float(value.abs().max()) for value in gradients.values())


def episodes(won: int, number: int = 4) -> list[Episode]:
    return [
        Episode(["look"], stop_reason=StopReason.WON if place < won else StopReason.STEP_LIMIT)
        for place in range(number)
    ]


def test_the_gate():
    groups = [episodes(won) for won in range(5)]
    assert [hpt.pass_rate(group) for group in groups] == [0, 0.25, 0.5, 0.75, 1]

    def decided(gamma, algorithm="hpt"):
        return hpt.imitated(groups, AgentRLSettings(algorithm=algorithm, gamma=gamma))

    assert decided(0.0) == [True, False, False, False, False], "gamma 0: only what every episode fails"
    assert decided(0.25) == [True, True, False, False, False], "at the gate a task is imitated"
    assert decided(0.3) == [True, True, False, False, False]
    assert decided(1.0) == [True] * 5
    assert decided(1.0, "grpo") == [False] * 5


def test_it_is_sft_where_every_task_fails(trainer_of, start, demonstrations):
    trainer = trainer_of(Never)
    loss, gradients = learn(trainer, [0, 1, 2, 3])
    by_hand, expected = sft_by_hand(start, demonstrations[:4])
    assert loss == pytest.approx(by_hand, abs=1e-5)
    assert largest(expected) > 1e-3
    assert close(gradients, expected)
    assert trainer.progress.counts["tokens_trained"] == sum(len(example) for example in demonstrations[:4])
    assert trainer._metrics["train"]["rollout/sft_share"] == [1.0]


def test_imitation_is_at_temperature_1(trainer_of, start, demonstrations):
    loss, gradients = learn(trainer_of(Never, temperature=0.6), [0, 1, 2, 3])
    by_hand, expected = sft_by_hand(start, demonstrations[:4])
    assert loss == pytest.approx(by_hand, abs=1e-5)
    assert close(gradients, expected)


def test_it_is_grpo_where_every_task_passes(trainer_of):
    trainer, grpo = trainer_of(Generous), trainer_of(Generous, algorithm="grpo")
    loss, gradients = learn(trainer, [0, 1, 2, 3])
    of_grpo, expected = learn(grpo, [0, 1, 2, 3])
    assert largest(expected) > 1e-3
    assert loss == of_grpo
    assert all(torch.equal(value, gradients[name]) for name, value in expected.items())
    assert trainer.progress.counts == grpo.progress.counts
    assert trainer._metrics["train"]["rollout/sft_share"] == [0.0]


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 3.0), (0.0, 1.0), (1.0, 0.0)])
def test_a_mixed_batch_is_the_weighted_sum(trainer_of, start, demonstrations, alpha, beta):
    """Tasks 0, 2 and 4 are explored and 1 is imitated: alpha 3/4 L_RL + beta 1/4 L_SFT, each a mean of its own.

    L_RL is GRPO's own computation, with the rows of task 1 taken out before it."""
    trainer = trainer_of(Half, alpha=alpha, beta=beta)
    loss, gradients = learn(trainer, [0, 2, 1, 4])
    reference = trainer_of(Half, algorithm="grpo", skip_constant_groups=False)
    reference.model.train()
    reference.current_gradient_accumulation_steps = reference.args.gradient_accumulation_steps
    played = [task for task in (0, 2, 1, 4) for _ in range(4)]
    tokens = 0.0
    original = reference._update

    def without_the_imitated(rows, update):
        nonlocal tokens
        remaining = [[] if place // 4 == 2 else of_episode for place, of_episode in enumerate(rows)]
        tokens = sum(row.response_tokens for of_episode in remaining for row in of_episode)
        return original(remaining, update)

    reference._update = without_the_imitated
    of_rl = 0.0
    for batch in reference._iterate(played):
        assert float(batch["num_items_in_batch"]) == tokens > 0
        value = reference._compute_loss(reference.model, batch)
        value.backward()
        of_rl += float(value.detach())
    kept = {name: value.grad for name, value in reference.model.named_parameters()}
    of_sft, imitated = sft_by_hand(start, demonstrations[1:2])
    assert loss == pytest.approx(alpha * 0.75 * of_rl + beta * 0.25 * of_sft, abs=1e-5)
    expected = {name: alpha * 0.75 * kept[name] + beta * 0.25 * imitated[name] for name in kept}
    assert largest(expected) > 1e-3
    assert close(gradients, expected)
    assert trainer._metrics["train"]["rollout/sft_share"] == [0.25]


def test_each_update_imitates_its_own_tasks(trainer_of, start, demonstrations):
    """With two updates the first learns from places 0 and 2, the second from 1 and 3."""
    trainer = trainer_of(Never, updates=2)
    by_hand, expected = sft_by_hand(start, [demonstrations[6], demonstrations[9]])
    loss, gradients = learn(trainer, [6, 7, 9, 8])
    assert loss == pytest.approx(by_hand, abs=1e-5)
    assert close(gradients, expected)
    second, gradients = learn(trainer, [6, 7, 9, 8], update=1)
    by_hand, expected = sft_by_hand(start, [demonstrations[7], demonstrations[8]])
    assert second == pytest.approx(by_hand, abs=1e-5)
    assert close(gradients, expected)


def test_nothing_of_the_environment_is_imitated(trainer_of, chat):
    """What is learned from is the expert's two actions, token by token, and nothing else."""
    trainer = trainer_of(Never)
    response = chat.action("red") + chat.action("blue blue")
    imitated = 0
    for batch in trainer._iterate([0] * 16):
        rows = batch["imitation"]["rows"]
        counted = (rows["completion_mask"] * rows["tool_mask"]).bool()
        for ids, mask in zip(rows["completion_ids"], counted, strict=True):
            if mask.any():  # a row may be there only to make up the number
                imitated += 1
                assert ids[mask].tolist() == response
        assert float(batch["imitation"]["tokens"]) == 4 * len(response)
    assert imitated == 4


def test_an_update_of_other_tasks_than_asked_for_is_refused(trainer_of):
    with pytest.raises(AssertionError, match="learn from 3 tasks, not the 4"):
        trainer_of(Never)._iterate([0] * 4 + [1] * 4 + [2] * 4)


@pytest.fixture
def train(chat, start, winning, tmp_path):
    def run(progress=None, checkpoints=None, environment=Secret, given=True, **changes):
        defaults = {
            "algorithm": "hpt",
            "iterations": 3,
            "tasks_per_iteration": 4,
            "group_size": 4,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "warmup_share": 0.0,
            "max_action_tokens": 6,
            "checkpoint_every": 100,
        }
        progress = progress or Recorded()
        trained, result = agent_rl(
            copy.deepcopy(start),
            chat,
            range(TASKS),
            environment,
            AgentRLSettings(**{**defaults, **changes}),
            max_steps=4,
            max_length=200,
            seed=0,
            checkpoints=checkpoints or tmp_path / "checkpoints",
            progress=progress,
            demonstration=winning.__getitem__ if given else None,
        )
        return trained, result, progress

    return run


def test_it_learns_and_needs_fewer_demonstrations_as_it_does(train):
    _, _, recorded = train(iterations=20, tasks_per_iteration=8, learning_rate=3e-3)
    success, share = recorded.values("rollout/success"), recorded.values("rollout/sft_share")
    assert len(share) == 20
    assert sum(success[:2]) / 2 < 0.3
    assert sum(success[-3:]) / 3 > 0.8
    assert share[0] > 0.3
    assert sum(share[-3:]) == 0, "no task fails in all of its episodes"


@pytest.mark.parametrize("updates", [1, 2])
def test_a_cut_run_ends_as_an_uncut_one(train, weights, tmp_path, updates):
    settings = {"iterations": 6, "checkpoint_every": 2, "updates": updates, "schedule": "cosine", "device_batch": 5}
    whole, _, everything = train(**settings, checkpoints=tmp_path / "whole")
    assert max(everything.values("rollout/sft_share")) > 0
    cut = CutAfter(5)
    with pytest.raises(Cut):
        train(**settings, checkpoints=tmp_path / "cut", progress=cut)
    again = Recorded()
    again.checkpoint = cut.checkpoint
    resumed, _, _ = train(**settings, checkpoints=tmp_path / "cut", progress=again)
    assert again.lines == [line for line in everything.lines if line[0] > 4]
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


def test_an_adapter_imitates_too(train, start, weights):
    trained, _, _ = train(lora_rank=4, learning_rate=1e-2, environment=Never)
    origin = weights(start)
    changed = {name for name, value in weights(trained).items() if not torch.equal(origin[name], value)}
    assert changed and all("proj" in name for name in changed)


def test_what_cannot_be_imitated_is_refused(train, chat, start, demonstrations, tmp_path):
    with pytest.raises(UserError, match="pass a demonstration of each task"):
        train(given=False)
    with pytest.raises(UserError, match=r"rl\.gamma is -0\.1"):
        AgentRLSettings(gamma=-0.1)
    with pytest.raises(UserError, match="one of them positive"):
        AgentRLSettings(alpha=0.0, beta=0.0)
    with pytest.raises(UserError, match=r"demonstration 0 has \d+ tokens, more than the context of 10"):
        agent_rl(
            start,
            chat,
            range(TASKS),
            Secret,
            AgentRLSettings(algorithm="hpt"),
            max_steps=4,
            max_length=10,
            seed=0,
            checkpoints=tmp_path,
            progress=Recorded(),
            demonstration=demonstrations.__getitem__,
        )
