"""The player that the tiny base learns from: it walks through a room in the order in which the room was described.

A small model learns a rule that it can read off the text (what is named next?) long before it learns where things
usually are. So the base becomes a beginner that moves validly from place to place and sometimes wins; where to look
first is left for the demonstrations of the searching expert to teach.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from alfworld_env import AlfworldEnv, Game
from alfworld_env.problem import parse_problem

_NAME = re.compile(r"\ba (\w+ \d+)")
_TREATMENTS = {"clean": ("clean", "sinkbasin"), "hot": ("heat", "microwave"), "cool": ("cool", "fridge")}


def walk(game: Game, rounds: int = 2) -> list[str]:
    """Actions that solve `game` by searching in the order of its first text, at most `rounds` times round the room.

    The episode may end without a win: the last action is then that of the last round.
    """
    environment = AlfworldEnv(game)
    return list(_Walker(environment, game).play(rounds))


def tour(game: Game, steps: int) -> list[str]:
    """Actions of a walk round the room that opens what is shut and takes nothing."""
    environment = AlfworldEnv(game)
    actions: list[str] = []
    for action in _Walker(environment, game).play(rounds=steps, takes=False):
        actions.append(action)
        if len(actions) == steps:
            break
    return actions


class _Walker:
    def __init__(self, environment: AlfworldEnv, game: Game) -> None:
        self.environment = environment
        self.places = _NAME.findall(environment.reset().partition("Your task is to:")[0])
        goal = parse_problem(game.pddl_problem).goal
        self.item, self.target = goal.object_type.removesuffix("type"), goal.receptacle_type.removesuffix("type")
        self.condition, self.lamp = goal.condition, goal.lamp_type.removesuffix("type")
        self.won = False

    def play(self, rounds: int, takes: bool = True) -> Iterator[str]:
        held = ""
        for place in self.places * rounds:
            yield from self._go(place)
            found = self._command(f"take {self.item} ", f" from {place}")
            if takes and found and not held and place.split()[0] != self.target:
                yield from self._act(found)
                held = found.removeprefix("take ").partition(" from ")[0]
                if not self.lamp:
                    yield from self._bring(held)
                    held = ""
            if held and self.lamp and self._command(f"use {self.lamp} "):
                yield from self._act(self._command(f"use {self.lamp} "))
            if self.won:
                return

    def _bring(self, held: str) -> Iterator[str]:
        if self.condition:
            verb, station = _TREATMENTS[self.condition]
            place = self._first(station)
            if place:
                if f"go to {place}" in self.environment.admissible:
                    yield from self._act(f"go to {place}")
                yield from self._act(f"{verb} {held} with {place}")
        place = self._first(self.target)
        if place:
            yield from self._go(place)
            yield from self._act(f"move {held} to {place}")

    def _go(self, place: str) -> Iterator[str]:
        for action in (f"go to {place}", f"open {place}"):
            if action in self.environment.admissible:
                yield from self._act(action)

    def _act(self, action: str) -> Iterator[str]:
        if not self.won:
            self.won = self.environment.step(action).won
            yield action

    def _first(self, kind: str) -> str:
        return next((place for place in self.places if place.split()[0] == kind), "")

    def _command(self, start: str, end: str = "") -> str:
        commands = self.environment.admissible
        return next((text for text in commands if text.startswith(start) and text.endswith(end)), "")
