"""Environments for workers of a pool, in a module of its own: a worker must be able to import it, and quickly."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass


@dataclass
class Step:
    observation: str
    reward: float = 0.0
    done: bool = False
    won: bool = False


class AnyOf(list):
    """What is admissible as a rule."""

    def __contains__(self, action: object) -> bool:
        return isinstance(action, str)


class World:
    """Answers with texts of its own length; every step takes `sleep_s`, and some worlds fail or end in some way."""

    def __init__(
        self, name: str, sleep_s: float = 0.0, win_after: int = 0, fails: str = "", rule: bool = False
    ) -> None:
        if fails == "make":
            raise OSError("no such world")
        self.name, self.sleep_s, self.win_after, self.fails, self.steps = name, sleep_s, win_after, fails, 0
        self.rule = rule

    def reset(self) -> str:
        self.steps = 0
        return f"You are in {self.name}. " + "There is a door. " * len(self.name)

    @property
    def admissible(self) -> list[str]:
        if self.fails == "admissible" and self.steps == 2:
            raise ValueError("nobody knows what is possible")
        return AnyOf(["search[...]"]) if self.rule else ["go north", f"look {self.steps}"]

    @property
    def anchor(self) -> str:
        return f"{self.name} {self.steps}"

    def step(self, action: str) -> Step:
        time.sleep(self.sleep_s)
        self.steps += 1
        if self.fails == "step" and self.steps == 2:
            raise KeyError("door")
        if self.fails == "die" and self.steps == 2:
            os._exit(3)
        won = self.steps == self.win_after
        return Step(f"{self.name} heard {len(action)} letters. " * (self.steps % 3 + 1), float(won), won, won)
