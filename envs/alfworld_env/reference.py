"""The reference engine: the real TextWorld on the real ALFWorld domain and grammar, behind our interface.

It is what the fast engine is measured and tested against: about 14 steps a second with admissible commands. Needs the
extra `textworld` (packages alfworld and textworld, which build fast-downward).
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from .engine import Step
from .games import Game
from .texts import dialect_named

# The classic dialect is the grammar of the package with the older verb.
_CLASSIC = (
    ("move {o} to {r}", "put {o} in/on {r}"),
    ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
)


class MissingTextWorld(ImportError):
    """The optional packages of the reference engine are absent."""


def _packages_folder() -> Path:
    spec = importlib.util.find_spec("alfworld")
    if spec is None or importlib.util.find_spec("textworld") is None or not spec.submodule_search_locations:
        raise MissingTextWorld("engine='textworld' needs the extra textworld: pip install 'encore[textworld]'")
    return Path(next(iter(spec.submodule_search_locations)))


def game_data(game: Game, dialect: str = "2.1.3") -> dict[str, Any]:
    """The content of the game's `game.tw-pddl`, made with the domain and grammar of the installed alfworld package."""
    name = dialect_named(dialect).name
    if name == "2.1.1":
        raise ValueError("engine='textworld' has no dialect 2.1.1: its grammar came with the original game files")
    data = _packages_folder() / "data"
    grammar = (data / "alfred.twl2").read_text(encoding="utf-8")
    # The grammar adds the full stop itself.
    grammar = grammar.replace("UNKNOWN GOAL", json.dumps(game.goal_text.removesuffix("."))[1:-1])
    if name == "classic":
        for new, old in _CLASSIC:
            if new not in grammar:
                raise MissingTextWorld(f"the installed alfworld package has another grammar than 2.1.3: no {new!r}")
            grammar = grammar.replace(new, old)
    return {
        "pddl_domain": (data / "alfred.pddl").read_text(encoding="utf-8"),
        "grammar": grammar,
        "pddl_problem": game.pddl_problem,
        "solvable": True,
        "walkthrough": None,
    }


class TextWorldEngine:
    """One game in TextWorld's PDDL environment, without gym, batches or a step limit."""

    def __init__(self, game: Game, dialect: str = "2.1.3") -> None:
        data = game_data(game, dialect)
        import textworld
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        from textworld.envs import PddlEnv

        infos = textworld.EnvInfos(won=True, admissible_commands=True)
        # The names ("cabinet 3") are made by this wrapper, from all ids of the problem.
        self._environment = AlfredDemangler(PddlEnv(infos), shuffle=False)
        self._environment.load(data)
        self.reset()

    def reset(self) -> str:
        """Starts over; returns the first observation."""
        self._state = self._environment.reset()
        return str(self._state.feedback)

    def step(self, action: str) -> Step:
        """One command, as the fast engine's."""
        self._state, score, done = self._environment.step(action)
        return Step(str(self._state.feedback), float(score), bool(done), bool(self._state["won"]))

    @property
    def admissible(self) -> list[str]:
        """The admissible commands, sorted."""
        return list(self._state["admissible_commands"])

    @property
    def won(self) -> bool:
        """Whether the goal holds now."""
        return bool(self._state["won"])
