"""ALFWorld as stages see it: generated or official games, panels, and their experts.

Panels: `seen` and `unseen` as ALFWorld has them; `dev`, training games to choose settings by.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Literal

import alfworld_env
from alfworld_env import AlfworldEnv, Game
from encore import configuration
from encore.environments import register
from encore.errors import UserError

DEV_SEED = 777  # of generated games: theirs alone, if no other seed in params.yaml is it
PANELS: dict[str, Literal["valid_seen", "valid_unseen"]] = {"seen": "valid_seen", "unseen": "valid_unseen"}


@dataclasses.dataclass(frozen=True)
class AlfworldSettings:
    """The section `alfworld` of params.yaml."""

    games: Literal["generated", "official"] = "generated"  # official: the download under `path` or $ALFWORLD_DATA
    path: str | None = None
    size: Literal["small", "full"] = "small"  # of generated games
    dialect: Literal["2.1.3", "classic"] = "2.1.3"
    expert: Literal["handcoded", "planner"] = "handcoded"
    max_steps: int = 30
    demonstrations: int = 300
    panels: dict[str, int] = dataclasses.field(default_factory=lambda: {"seen": 140, "unseen": 134})
    seed: int = 0  # of the generated games

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"alfworld.seed is {self.seed}: seeds are whole numbers from 0")
        for name, number in [("max_steps", self.max_steps), ("demonstrations", self.demonstrations)]:
            if number < 1:
                raise UserError(f"alfworld.{name} is {number}: it must be at least 1")
        unknown = sorted(set(self.panels) - {*PANELS, "dev"})
        if unknown:
            raise UserError(f"alfworld.panels names '{unknown[0]}': choose from {', '.join(PANELS)}, dev")


class AlfworldTasks:
    """Implements `encore.environments.Tasks`."""

    def __init__(self, settings: AlfworldSettings) -> None:
        self.settings = settings

    def demonstrations(self, number: int, seed: int) -> Sequence[Game]:
        if self.settings.games == "generated":
            return alfworld_env.generate_games(number, seed=seed, size=self.settings.size, split="train")
        return _sample(self._official("train"), number, seed)

    def panel(self, name: str, number: int) -> Sequence[Game]:
        if name == "dev":
            return self.demonstrations(number, DEV_SEED)
        if self.settings.games == "generated":
            return alfworld_env.generate_games(
                number, seed=self.settings.seed, size=self.settings.size, split=PANELS[name]
            )
        return _sample(self._official(PANELS[name]), number, seed=0)

    def environment(self, task: Game) -> AlfworldEnv:
        return AlfworldEnv(task, dialect=self.settings.dialect)

    def expert(self, task: Game, seed: int) -> list[str]:
        return alfworld_env.expert_actions(
            task, expert=self.settings.expert, seed=seed, dialect=self.settings.dialect, max_steps=150
        )

    def describe(self, task: Game) -> dict[str, str]:
        return {"id": task.id, "task_type": task.task_type, "goal": task.goal_text}

    def _official(self, split: str) -> Sequence[Game]:
        try:
            return alfworld_env.load_games(self.settings.path, split=split)
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"alfworld.games=official: {error}") from error


def _sample(games: Sequence[Game], number: int, seed: int) -> list[Game]:
    """A seeded order whose first `number` games are the sample, so that a larger number only adds games."""
    order = list(range(len(games)))
    random.Random(seed).shuffle(order)
    return [games[index] for index in order[:number]]


@register("alfworld")
def load(settings: dict) -> AlfworldTasks:
    """ALFWorld's tasks from the section `alfworld` of params.yaml. Raises UserError for a key or value that is none."""
    return AlfworldTasks(configuration.build(AlfworldSettings, settings, "alfworld"))
