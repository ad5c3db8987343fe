"""ALFWorld's text games: a fast engine, TextWorld as its reference, experts, official data and generated games.

Usable without the rest of Encore and with the standard library alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .engine import Step
from .environment import AlfworldEnv
from .experts import expert_actions
from .games import TASK_TYPES, DamagedGame, DamagedGameWarning, Game, GameFolder, load_games
from .planner import plan

if TYPE_CHECKING:
    from .generate import generate_games

__all__ = [
    "TASK_TYPES",
    "AlfworldEnv",
    "DamagedGame",
    "DamagedGameWarning",
    "Game",
    "GameFolder",
    "Step",
    "expert_actions",
    "generate_games",
    "load_games",
    "plan",
]


def __getattr__(name: str) -> Any:
    # The generator reads the statistics of rooms, which those who play official games never need.
    if name == "generate_games":
        from .generate import generate_games

        return generate_games
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
