"""The hand-coded expert: a searcher that knows only what the game has told it.

Like ALFWorld's HandCodedTWAgent (alfworld/agents/expert/handcoded_expert.py) it reads the task's type and class names
from the goal, then follows find, take, treat, find, put; it sees the texts and the admissible commands and nothing
else. It differs in what made that one fail or walk forever: it remembers every object and place it has seen, tries an
object or a place once, leaves doors open, never acts at random, and brings both objects to the same place.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from .environment import AlfworldEnv
from .goals import Goal

_NAME = re.compile(r"\ba (\w+ \d+)")
_VERBS = {"clean": ("clean", "sinkbasin"), "hot": ("heat", "microwave"), "cool": ("cool", "fridge")}

# Where to look first: common sense on sizes, large open places before small ones, before what must be opened.
_RANK = {
    "countertop": 0, "diningtable": 0, "desk": 0, "bed": 0, "coffeetable": 0, "fridge": 1, "sofa": 1, "sidetable": 1,
    "dresser": 1, "sinkbasin": 1, "garbagecan": 2, "microwave": 2, "tvstand": 2, "armchair": 2, "toilet": 2,
    "bathtubbasin": 2, "shelf": 3, "stoveburner": 3, "coffeemachine": 3, "cabinet": 4, "drawer": 5,
}  # fmt: skip


def _class(name: str) -> str:
    return name.split(" ", 1)[0]


class _Over(Exception):
    """The episode has been won, or the searcher has used up its steps."""


class Searcher:
    """Plays one episode of `env` towards `goal`; `can_contain` is the general rule of what fits where, by types."""

    def __init__(
        self, env: AlfworldEnv, goal: Goal, can_contain: frozenset[tuple[str, str]], rng: random.Random
    ) -> None:
        self._env = env
        self._goal = goal
        self._item_class = goal.object_type.removesuffix("type")
        self._target_class = goal.receptacle_type.removesuffix("type")
        self._lamp_class = goal.lamp_type.removesuffix("type")
        self._homes = {r.removesuffix("type") for r, o in can_contain if o == goal.object_type}
        self._rng = rng
        self.actions: list[str] = []
        self.won = False
        self._max_steps = 0
        self._receptacles: list[str] = []
        self._seen: dict[str, list[str]] = {}  # receptacle -> objects; absent: not looked into yet
        self._useless: set[tuple[str, str]] = set()  # (object, receptacle) that turned out not to help

    def play(self, max_steps: int) -> list[str]:
        """The commands up to the win, or up to `max_steps` or the end of all ideas; `.won` tells which."""
        self._max_steps = max_steps
        self._receptacles = _NAME.findall(self._env.reset().partition("Your task is to:")[0])
        self._rng.shuffle(self._receptacles)  # the order among equally likely places
        try:
            if self._lamp_class:
                self._look_in_light()
            else:
                self._place_all()
        except _Over:
            pass
        return self.actions

    def _look_in_light(self) -> None:
        for item, place in self._find(self._item_class, self._search_order()):
            if self._take(item, place):
                break
        # Lamps stand on furniture: the same order of search serves, whatever the object was.
        for lamp, place in self._find(self._lamp_class, sorted(self._receptacles, key=self._rank)):
            self._go(place)
            if self._possible(f"use {lamp}"):
                self._do(f"use {lamp}")
            self._useless.add((lamp, place))

    def _place_all(self) -> None:
        for item, place in self._find(self._item_class, self._search_order()):
            if self._take(item, place):
                if self._goal.condition and not self._treat(item):
                    return
                if not self._put(item):
                    return

    def _meeting_place(self) -> str | None:
        """Two objects must meet in one place: the one with most of them, the first seen of equals."""

        def held(place: str) -> int:
            return sum(_class(o) == self._item_class for o in self._seen.get(place, ()))

        places = [r for r in self._seen if _class(r) == self._target_class and held(r)]
        return max(places, key=held, default=None)

    def _search_order(self) -> list[str]:
        def key(receptacle: str) -> tuple[bool, bool, int]:
            class_ = _class(receptacle)
            # What must be brought to a place is rarely there already; without treatment it never is.
            return (
                class_ == self._target_class and not self._goal.condition,
                class_ not in self._homes,
                self._rank(receptacle),
            )

        return sorted(self._receptacles, key=key)

    def _rank(self, receptacle: str) -> int:
        return _RANK.get(_class(receptacle), 3)

    def _find(self, class_: str, order: list[str]) -> Iterator[tuple[str, str]]:
        """Objects of a class with their place, first those seen already; looks into one place after another."""
        while True:
            known = self._known(class_)
            if known:
                yield known
                continue
            unseen = next((r for r in order if r not in self._seen), None)
            if unseen is None:
                return
            self._look_into(unseen)

    def _known(self, class_: str) -> tuple[str, str] | None:
        meeting = self._meeting_place() if self._goal.count == 2 else None  # what lies there already stays there
        for place, items in self._seen.items():
            for item in items:
                if _class(item) == class_ and place != meeting and (item, place) not in self._useless:
                    return item, place
        return None

    def _take(self, item: str, place: str) -> bool:
        self._go(place)
        command = f"take {item} from {place}"
        if not self._possible(command):
            self._useless.add((item, place))
            return False
        self._do(command)
        self._seen[place].remove(item)
        return True

    def _treat(self, item: str) -> bool:
        verb, station_class = _VERBS[self._goal.condition]
        for station in [r for r in self._receptacles if _class(r) == station_class]:
            self._go(station)
            command = f"{verb} {item} with {station}"
            if self._possible(command):
                self._do(command)
                return True
        return False

    def _put(self, item: str) -> bool:
        targets = [r for r in self._receptacles if _class(r) == self._target_class]
        meeting = self._meeting_place()
        if self._goal.count == 2 and meeting is not None:
            targets = [meeting]
        for target in targets:
            self._look_into(target)
            for command in (f"move {item} to {target}", f"put {item} in/on {target}"):
                if self._possible(command):
                    self._seen[target].append(item)
                    self._do(command)
                    return True
        return False

    def _look_into(self, receptacle: str) -> None:
        """Goes there and opens it if need be; then its contents are known."""
        self._go(receptacle)
        if receptacle not in self._seen and not self._possible(f"open {receptacle}"):
            self._read(receptacle, self._do(f"examine {receptacle}"))  # it shares its location with the last one
        if self._possible(f"open {receptacle}"):
            self._read(receptacle, self._do(f"open {receptacle}"))

    def _go(self, receptacle: str) -> None:
        if self._possible(f"go to {receptacle}"):
            self._read(receptacle, self._do(f"go to {receptacle}"))

    def _read(self, receptacle: str, text: str) -> None:
        if not text.endswith("is closed."):
            self._seen[receptacle] = _NAME.findall(text)

    def _possible(self, command: str) -> bool:
        return command in self._env.admissible

    def _do(self, command: str) -> str:
        step = self._env.step(command)
        self.actions.append(command)
        self.won = step.won
        if step.done or len(self.actions) >= self._max_steps:
            raise _Over
        return step.observation
