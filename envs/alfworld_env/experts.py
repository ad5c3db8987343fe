"""Experts: whole episodes that win, to learn from or to compare with."""

from __future__ import annotations

import random

from .environment import AlfworldEnv
from .games import Game
from .planner import plan
from .problem import parse_problem
from .searcher import Searcher

EXPERTS = ("handcoded", "planner")


def expert_actions(
    game: Game, expert: str = "handcoded", seed: int = 0, *, dialect: str = "2.1.3", max_steps: int = 150
) -> list[str]:
    """The commands of a won episode from the start of the game, the same for the same arguments.

    "planner" knows the hidden state and takes a shortest way; it has no choice to make, so `seed` is without effect.
    "handcoded" searches with what the texts have shown; `seed` sets the order in which it tries equally likely places.
    Raises ValueError, in one line, for a game that the expert does not win within `max_steps`.
    """
    env = AlfworldEnv(game, dialect)
    if expert == "planner":
        actions = plan(env.state)
        if actions is None or len(actions) > max_steps:
            raise ValueError(f"no plan wins {game.id} within {max_steps} steps")
        return actions
    if expert != "handcoded":
        raise ValueError(f"unknown expert {expert!r}: choose one of {', '.join(EXPERTS)}")
    problem = parse_problem(game.pddl_problem)
    searcher = Searcher(env, problem.goal, problem.can_contain, random.Random(f"{seed}/{game.id}"))
    actions = searcher.play(max_steps)
    if not searcher.won:
        raise ValueError(f"the hand-coded expert does not win {game.id} within {max_steps} steps")
    return actions
