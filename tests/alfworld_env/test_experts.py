"""Experts win, the planner by a shortest way, the searcher by what it has seen."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import pytest

from alfworld_env import TASK_TYPES, AlfworldEnv, Game, expert_actions, generate_games, plan
from alfworld_env.engine import FastEngine
from alfworld_env.problem import parse_problem
from alfworld_env.searcher import Searcher

MakeGame = Callable[..., Game]
TASKS = [
    ("pick_and_place_simple", "Mug", "Desk"),
    ("pick_and_place_simple", "Spoon", "Cabinet"),
    ("look_at_obj_in_light", "Mug", "DeskLamp"),
    ("look_at_obj_in_light", "Apple", "DeskLamp"),
    ("pick_clean_then_place_in_recep", "Mug", "Fridge"),
    ("pick_clean_then_place_in_recep", "Apple", "Desk"),
    ("pick_heat_then_place_in_recep", "Apple", "CounterTop"),
    ("pick_heat_then_place_in_recep", "Bread", "Cabinet"),
    ("pick_cool_then_place_in_recep", "Mug", "Cabinet"),
    ("pick_cool_then_place_in_recep", "Apple", "Desk"),
    ("pick_cool_then_place_in_recep", "Mug", "Fridge"),
    ("pick_two_obj_and_place", "Mug", "Cabinet"),
    ("pick_two_obj_and_place", "Apple", "CounterTop"),
    ("pick_two_obj_and_place", "Mug", "Desk"),
]
IDLE = ("examine", "look", "help", "inventory", "close", "slice")  # never on a shortest way


def wins(game: Game, actions: list[str], dialect: str = "2.1.3") -> bool:
    env = AlfworldEnv(game, dialect)
    env.reset()
    won = [env.step(action).won for action in actions]
    return won[-1] and not any(won[:-1])


def key(state: FastEngine) -> tuple[object, ...]:
    changing = (state.opened, state.hot, state.cool, state.clean, state.toggled)
    return state.location, state.held, str(state.contents), *(frozenset(part) for part in changing)


def shortest(state: FastEngine, limit: int) -> int:
    """Length of a shortest win by breadth-first search over all useful commands; `limit` if there is no shorter one."""
    wanted = state.problem.goal.object_type.removesuffix("type")
    seen, queue = {key(state)}, deque([(state, 0)])
    while queue:
        state, depth = queue.popleft()
        for command in state.admissible if depth < limit - 1 else ():
            if command.startswith(IDLE) or (command.startswith("take") and f"take {wanted} " not in command):
                continue
            copy = state.clone()
            if copy.step(command).won:
                return depth + 1
            if (mark := key(copy)) not in seen:
                seen.add(mark)
                queue.append((copy, depth + 1))
    return limit


@pytest.mark.parametrize(("task_type", "item", "place"), TASKS)
def test_plans_are_as_short_as_breadth_first_search(make_game: MakeGame, task_type: str, item: str, place: str) -> None:
    game = make_game(task_type, item, place)
    actions = plan(AlfworldEnv(game))
    assert actions is not None and wins(game, actions)
    if len(actions) <= 7:  # wider searches take minutes
        assert len(actions) == shortest(AlfworldEnv(game).state, len(actions))


@pytest.mark.parametrize(("task_type", "item", "place"), TASKS)
def test_plans_win_from_wherever_a_random_walk_ends(make_game: MakeGame, task_type: str, item: str, place: str) -> None:
    game = make_game(task_type, item, place)
    for seed in range(30):
        rng, env = random.Random(seed), AlfworldEnv(game, "classic")
        for _ in range(rng.randrange(25)):
            env.step(rng.choice(env.admissible))
        before = env.admissible
        actions = plan(env)
        assert actions is not None and env.admissible == before
        assert env.won if not actions else [env.step(action).won for action in actions][-1]


def test_no_plan_where_there_is_no_way(make_game: MakeGame) -> None:
    game = make_game("pick_and_place_simple", "Spoon", "Desk")  # a spoon does not go onto this desk
    assert plan(AlfworldEnv(game)) is None
    for expert in ("planner", "handcoded"):
        with pytest.raises(ValueError, match="within 150 steps") as error:
            expert_actions(game, expert)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="unknown expert 'wizard'"):
        expert_actions(game, "wizard")


@pytest.mark.parametrize("expert", ["handcoded", "planner"])
@pytest.mark.parametrize("dialect", ["2.1.3", "classic", "2.1.1"])
def test_experts_win_in_every_dialect(make_game: MakeGame, expert: str, dialect: str) -> None:
    for task in TASKS:
        game = make_game(*task)
        assert wins(game, expert_actions(game, expert, dialect=dialect), dialect)


@pytest.mark.parametrize("expert", ["handcoded", "planner"])
def test_experts_win_all_generated_games(expert: str) -> None:
    for size, limit in (("full", 100), ("small", 50)):
        for game in generate_games(30, seed=5, size=size):
            actions = expert_actions(game, expert)
            assert len(actions) <= limit and wins(game, actions), game.id


def test_experts_are_deterministic_and_seeds_differ() -> None:
    games = generate_games(20, seed=3)
    first = [expert_actions(game, seed=1) for game in games]
    assert first == [expert_actions(game, seed=1) for game in games]
    assert first != [expert_actions(game, seed=2) for game in games]
    assert [expert_actions(game, "planner", 1) for game in games] == [
        expert_actions(game, "planner", 2) for game in games
    ]


def test_the_searcher_needs_only_texts_and_command_lists() -> None:
    """Given an environment without `.state`, `.game` and `.clone`, so without hidden facts, it plays the same."""

    class TextsOnly:
        def __init__(self, game: Game) -> None:
            env = AlfworldEnv(game)
            self.reset, self.step, self._list = env.reset, env.step, lambda: env.admissible

        @property
        def admissible(self) -> list[str]:
            return self._list()

    for game in generate_games(12, seed=11):
        problem = parse_problem(game.pddl_problem)
        env: Any = TextsOnly(game)
        searcher = Searcher(env, problem.goal, problem.can_contain, random.Random(f"0/{game.id}"))
        assert searcher.play(150) == expert_actions(game)


@pytest.mark.slow
def test_experts_on_official_games(official_games: dict[str, Game]) -> None:
    """Every fifth game: both win all; the searcher wins 99 % of every type within 50 steps, all within 100."""
    lengths = defaultdict(list)
    for game in list(official_games.values())[::5]:
        assert len(expert_actions(game, "planner")) <= 10
        lengths[game.task_type].append(len(expert_actions(game)))
    assert set(lengths) == set(TASK_TYPES)
    for found in lengths.values():
        assert sum(n <= 50 for n in found) >= 0.99 * len(found)
        assert max(found) <= 100
