"""Pools: where an environment steps changes nothing but the time that it takes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from functools import partial

import pytest

import alfworld_env
from alfworld_env import AlfworldEnv
from encore import rollout
from encore.environments import TextEnv
from encore.errors import UserError
from encore.rollout import StopReason, pools
from tests.encore.rollout.worlds import World

WORLDS = [
    partial(World, "a", win_after=2),
    partial(World, "the kitchen"),
    partial(World, "the hall", fails="step"),
    partial(World, "the cellar", fails="admissible"),
    partial(World, "nowhere", fails="make"),
    partial(World, "the shop", rule=True),
    partial(World, "the very long corridor", win_after=4),
]


class Unmade:
    """In this process, a factory's failure comes with the reset, as it does in a worker."""

    def __init__(self, factory) -> None:
        self.factory = factory

    def reset(self) -> str:
        self.environment = self.factory()
        return self.environment.reset()

    def step(self, action: str):
        return self.environment.step(action)

    @property
    def admissible(self):
        return self.environment.admissible

    @property
    def anchor(self):
        return self.environment.anchor


def play(policy, environments, **settings):
    return rollout.collect(policy, environments, **{"max_steps": 5, "max_length": 2000, **settings})


@pytest.fixture
def ray():
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed (extra `ray`)")
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()


@pytest.mark.parametrize("batch_size", [2, 256])
def test_episodes_are_those_of_this_process(scripted, batch_size):
    answers = ("go north", "look 1", "north", "look 3")
    here = play(scripted(*answers), [Unmade(factory) for factory in WORLDS], batch_size=batch_size)
    with pools.processes(WORLDS, workers=2) as environments:
        there = play(scripted(*answers), environments, batch_size=batch_size)
        again = play(scripted(*answers), environments, batch_size=batch_size)
    assert there == here
    assert again == here
    assert {episode.stop_reason for episode in here} == {
        StopReason.WON,
        StopReason.STEP_LIMIT,
        StopReason.ENVIRONMENT_ERROR,
    }


def test_a_model_plays_the_same_episodes(model, chat):
    factories = [partial(World, name, win_after=3) for name in ("a", "the kitchen", "b")]
    policy = rollout.TransformersPolicy(model, chat)
    settings = {"max_action_tokens": 6, "temperature": 1.0}
    here = play(policy, [factory() for factory in factories], **settings)
    with pools.processes(factories, workers=2) as environments:
        mixed = play(policy, [*environments[:2], factories[2]()], **settings)
    for one, other in zip(here, mixed, strict=True):
        assert other.actions == one.actions
        assert other.observations == one.observations
        assert other.anchors == one.anchors


def test_a_handle_is_an_environment():
    with pools.processes([partial(World, "a")], workers=4) as (environment,):
        assert isinstance(environment, TextEnv)
        assert environment.reset() == World("a").reset()
        assert environment.admissible == ["go north", "look 0"]
        assert environment.step("x").observation == World("a").step("x").observation
        assert (environment.admissible, environment.anchor) == (["go north", "look 1"], "a 1")


def test_slow_steps_overlap(scripted):
    factories = [partial(World, f"world {number}", sleep_s=0.05) for number in range(6)]
    started = time.perf_counter()
    here = play(scripted("go north"), [factory() for factory in factories], max_steps=4)
    alone_s = time.perf_counter() - started
    with pools.processes(factories, workers=2) as environments:
        for environment in environments:
            environment.reset()  # the workers have started
        started = time.perf_counter()
        there = play(scripted("go north"), environments, max_steps=4)
        pooled_s = time.perf_counter() - started
    assert there == here
    assert alone_s / pooled_s >= 1.5, f"{alone_s:.2f} s one after another, {pooled_s:.2f} s in two workers"


def test_a_dead_worker_ends_its_own_episodes_alone(scripted):
    # Two workers: environments 0, 2, 4 are in the first, which dies at environment 2's second step.
    factories = [partial(World, f"world {number}", fails="die" if number == 2 else "") for number in range(5)]
    turns: dict[int, int] = {}

    def count(index: int, _: object) -> None:
        turns[index] = turns.get(index, 0) + 1

    with pools.processes(factories, workers=2) as environments:
        episodes = play(scripted("go north"), environments, on_turn=count)
        died = [episode.stop_reason is StopReason.ENVIRONMENT_ERROR for episode in episodes]
        assert died == [True, False, True, False, True]
        assert episodes[2].error == "WorkerDied: the process of environments-0 ended (exit code 3)"
        assert [turns[1], turns[3]] == [5, 5]
        episodes = play(scripted("go north"), [environments[0], environments[4]])
        assert [episode.stop_reason for episode in episodes] == [StopReason.STEP_LIMIT] * 2, "they moved to the other"
    with pools.processes(factories, workers=2) as environments, pytest.raises(UserError, match="WorkerDied"):
        play(scripted("go north"), environments, max_error_share=0.5)


def test_without_any_worker_left_every_episode_ends(scripted):
    with pools.processes([partial(World, "a", fails="die") for _ in range(3)], workers=1) as environments:
        episodes = play(scripted("go north"), environments, batch_size=1)
    assert [episode.stop_reason for episode in episodes] == [StopReason.ENVIRONMENT_ERROR] * 3
    assert "exit code 3" in episodes[0].error
    assert "no worker of the pool is left" in episodes[2].error


def test_what_cannot_travel_is_that_episodes_error(scripted):
    class Local(World):
        pass

    factories = [lambda: World("a"), partial(World, "b"), partial(Local, "c")]
    with pools.processes(factories, workers=1) as environments:
        episodes = play(scripted("go north"), environments)
    assert [bool(episode.error) for episode in episodes] == [True, False, True]
    assert "cannot be sent to a process" in episodes[0].error


def test_a_pool_needs_a_worker():
    with pytest.raises(UserError, match="0 workers"), pools.processes([], workers=0):
        pass


def test_a_worker_imports_no_torch():
    command = "import encore.environment_pools, sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.slow
def test_ray_actors(scripted, ray):
    answers = ("go north", "look 1", "north", "look 3")
    here = play(scripted(*answers), [Unmade(factory) for factory in WORLDS])
    with pools.ray_actors(WORLDS, workers=2) as environments:
        there = play(scripted(*answers), environments)
    assert there == here
    dying = [partial(World, f"world {number}", fails="die" if number == 0 else "") for number in range(4)]
    with pools.ray_actors(dying, workers=2, num_cpus=0.5) as environments:
        episodes = play(scripted("go north"), environments)
    assert [bool(episode.error) for episode in episodes] == [True, False, True, False]
    assert episodes[0].error.startswith("WorkerDied: the Ray actor of environments-0 died")


def test_without_ray_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"encore\[ray\]"), pools.ray_actors([partial(World, "a")], workers=1):
        pass


@pytest.mark.slow
@pytest.mark.textworld
def test_textworld_steps_in_a_pool(scripted):
    if importlib.util.find_spec("textworld") is None or importlib.util.find_spec("alfworld") is None:
        pytest.skip("needs the extra textworld")
    games = alfworld_env.generate_games(2, seed=5, size="small")
    answers = ("look", "inventory", "go to fridge 1", "nothing")
    factories = [partial(AlfworldEnv, game, engine="textworld") for game in games]
    fast = play(scripted(*answers), [AlfworldEnv(game) for game in games], max_steps=4, max_length=4000)
    with pools.processes(factories, workers=2) as environments:
        reference = play(scripted(*answers), environments, max_steps=4, max_length=4000)
    for one, other in zip(fast, reference, strict=True):
        assert (other.observations, other.stop_reason) == (one.observations, one.stop_reason)
        assert other.invalid_actions == one.invalid_actions
