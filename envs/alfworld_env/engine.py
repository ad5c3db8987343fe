"""The fast engine: the game as a state machine over a `Problem`.

It says, allows and wins exactly what TextWorld does on the same problem, at some thousand times its speed: nothing is
derived through a logic or a grammar; the commands of the present place are listed once per change of state, and the
"go to" block, by far the longest part of every list, once per place.
"""

from __future__ import annotations

from bisect import insort
from typing import NamedTuple, Protocol

from . import texts
from .problem import Problem

SHARP = ("knifetype", "butterknifetype")
# Stations: type of the receptacle -> the verb that works there, bare of any open door.
STATIONS = {"microwavetype": "heat", "fridgetype": "cool", "sinkbasintype": "clean"}


class Step(NamedTuple):
    """What a command did. `reward` is 1.0 while the goal holds and else 0.0; `done` is `won`: there is no step limit,
    and after a win the game goes on and can be lost again, as in TextWorld."""

    observation: str
    reward: float
    done: bool
    won: bool


class Engine(Protocol):
    """What the fast engine and the TextWorld reference have in common."""

    def reset(self) -> str: ...
    def step(self, action: str) -> Step: ...
    @property
    def admissible(self) -> list[str]: ...
    @property
    def won(self) -> bool: ...


class Rooms:
    """The parts of the command lists that depend on the problem only; shared by an engine and its clones."""

    def __init__(self, problem: Problem) -> None:
        self.go_to = {f"go to {name}": index for index, name in enumerate(problem.receptacles)}
        self.here: dict[int, tuple[int, ...]] = {}  # location -> receptacles, in id order
        for receptacle, location in enumerate(problem.receptacle_locations):
            self.here[location] = (*self.here.get(location, ()), receptacle)
        self._sorted_go_to = sorted(self.go_to.items())
        self._go_to_from: dict[int, list[str]] = {}
        self._locations = problem.receptacle_locations

    def go_to_from(self, location: int) -> list[str]:
        """The sorted "go to" commands that are admissible at a location; not to be changed."""
        if location not in self._go_to_from:
            self._go_to_from[location] = [c for c, r in self._sorted_go_to if self._locations[r] != location]
        return self._go_to_from[location]


class FastEngine:
    """One running game. The public attributes are its state, in the indices of `problem`."""

    def __init__(self, problem: Problem, goal_text: str, dialect: str = "2.1.3") -> None:
        self.problem = problem
        self.goal_text = goal_text
        self.dialect = texts.dialect_named(dialect)
        self._rooms = Rooms(problem)
        goal = problem.goal
        self._goal_receptacles = [r for r, t in enumerate(problem.receptacle_types) if t == goal.receptacle_type]
        self._goal_objects = frozenset(o for o, t in enumerate(problem.object_types) if t == goal.object_type)
        self._goal_lamps = frozenset(o for o in problem.toggleable if problem.object_types[o] == goal.lamp_type)
        # The goal asks for the affordance too; it matters for what is cool from the start.
        able = {"clean": problem.cleanable, "hot": problem.heatable, "cool": problem.coolable}.get(goal.condition)
        if able is not None:
            self._goal_objects &= able
        self._begin()

    def _begin(self) -> None:
        problem = self.problem
        self.location = problem.start
        self.held: int | None = None
        self.contents = [list(items) for items in problem.contents]
        self.object_locations = list(problem.object_locations)
        self.opened: set[int] = set()
        self.hot: set[int] = set()
        self.cool = set(problem.cool)
        self.clean: set[int] = set()
        self.toggled: set[int] = set()
        self.sliced: set[int] = set()
        self.taken: set[tuple[int, int]] = set()  # taken from a receptacle and not put back; only `look` tells
        self._local: dict[str, tuple[str, int, int]] | None = None
        self._won: bool | None = None

    def clone(self) -> FastEngine:
        """An independent copy of the running game (about 5 microseconds)."""
        copy = object.__new__(FastEngine)
        copy.__dict__.update(self.__dict__)
        copy.contents = [items[:] for items in self.contents]
        copy.object_locations = self.object_locations[:]
        for name in ("opened", "hot", "cool", "clean", "toggled", "sliced", "taken"):
            setattr(copy, name, getattr(self, name).copy())
        return copy

    def signature(self) -> str:
        """All that decides what commands do and whether the game is won, as text."""
        sets = (self.opened, self.hot, self.cool, self.clean, self.toggled, self.sliced)
        parts = [str(self.location), str(self.held), str(self.object_locations)]
        return " ".join([*parts, *(str(sorted(members)) for members in sets)])

    def reset(self) -> str:
        """Starts over; returns the first observation."""
        self._begin()
        return texts.intro(self.problem.receptacles, self.goal_text)

    @property
    def admissible(self) -> list[str]:
        """All commands that do something now, sorted."""
        local = sorted(self._local_commands())
        # "go to ..." commands are neighbours in the sorted list, so only the few others need sorting.
        split = next((i for i, command in enumerate(local) if command > "go to"), len(local))
        return local[:split] + self._rooms.go_to_from(self.location) + local[split:]

    @property
    def won(self) -> bool:
        """Whether the goal holds now."""
        if self._won is None:
            self._won = self._goal_holds()
        return self._won

    def step(self, action: str) -> Step:
        """Does a command; one that is not admissible (after stripping blanks at its ends) changes nothing."""
        command = action.strip()
        destination = self._rooms.go_to.get(command)
        if destination is not None and self.problem.receptacle_locations[destination] != self.location:
            observation = self._go_to(destination)
        else:
            effect = self._local_commands().get(command)
            observation = self._do(*effect) if effect else texts.NOTHING_HAPPENS
        won = self.won
        return Step(observation, 1.0 if won else 0.0, won, won)

    def _local_commands(self) -> dict[str, tuple[str, int, int]]:
        """Every admissible command but "go to", with (verb, first, second) to carry it out."""
        if self._local is None:
            self._local = self._list_local_commands()
        return self._local

    def _list_local_commands(self) -> dict[str, tuple[str, int, int]]:
        problem, held = self.problem, self.held
        commands = {"inventory": ("inventory", 0, 0), "look": ("look", 0, 0)}
        if self.dialect.has_help:
            commands["help"] = ("help", 0, 0)
        for receptacle in self._rooms.here.get(self.location, ()):
            name = problem.receptacles[receptacle]
            commands[f"examine {name}"] = ("examine receptacle", receptacle, 0)
            accessible = True
            if receptacle in problem.openable:
                accessible = receptacle in self.opened
                verb = "close" if accessible else "open"
                commands[f"{verb} {name}"] = (verb, receptacle, 0)
            for item in self.contents[receptacle]:
                if held is None and accessible and item in problem.pickupable:
                    commands[f"take {problem.objects[item]} from {name}"] = ("take", item, receptacle)
                if item in problem.toggleable:
                    commands[f"use {problem.objects[item]}"] = ("use", item, 0)
            if held is not None:
                if accessible and problem.accepts(receptacle, held):
                    commands[self.dialect.put.format(problem.objects[held], name)] = ("put", held, receptacle)
                station = STATIONS.get(problem.receptacle_types[receptacle])
                if station and held in self._treatable(station):
                    commands[f"{station} {problem.objects[held]} with {name}"] = (station, held, receptacle)
        if held is not None:
            tool = problem.objects[held]
            commands[f"examine {tool}"] = ("examine object", held, 0)
            if problem.object_types[held] in SHARP:
                for item in problem.sliceable:
                    if self.location in self.object_locations[item]:
                        commands[f"slice {problem.objects[item]} with {tool}"] = ("slice", item, held)
        return commands

    def _treatable(self, verb: str) -> frozenset[int]:
        if verb == "heat":
            return self.problem.heatable
        return self.problem.coolable if verb == "cool" else self.problem.cleanable

    def _go_to(self, receptacle: int) -> str:
        self.location = self.problem.receptacle_locations[receptacle]
        self._local = self._won = None
        place = self.problem.locations[self.location] if self.dialect.arrive_at_location else self._name(receptacle)
        return f"You arrive at {place}. {self._examine(receptacle)}"

    def _name(self, receptacle: int) -> str:
        return self.problem.receptacles[receptacle]

    def _do(self, verb: str, first: int, second: int) -> str:
        match verb:
            case "inventory":
                if self.held is None:
                    return "You are not carrying anything."
                return f"You are carrying: a {self.problem.objects[self.held]}."
            case "look":
                return self._look()
            case "help":
                return texts.HELP
            case "examine receptacle":
                return self._examine(first)
            case "examine object":
                return self._examine_held(first)
        self._local = self._won = None  # from here on the state changes
        if verb == "open":
            self.opened.add(first)
            return f"You open the {self._name(first)}. {self._examine(first)}"
        if verb == "close":
            self.opened.remove(first)
            return f"You close the {self._name(first)}."
        item = self.problem.objects[first]
        if verb == "use":
            self.toggled.add(first)
            return f"You turn on the {item}."
        if verb == "slice":
            self.sliced.add(first)
            return f"You sliced the {item} with the {self.problem.objects[second]}."
        place = self._name(second)
        if verb == "take":
            self.contents[second].remove(first)
            self.held = first
            self.object_locations[first] -= {self.location}
            self.taken.add((first, second))
            return f"You pick up the {item} from the {place}."
        if verb == "put":
            if first not in self.contents[second]:  # an object can be in several receptacles at once
                insort(self.contents[second], first)
            self.held = None
            self.object_locations[first] |= {self.location}
            self.taken.discard((first, second))
            return self.dialect.put_done.format(item, place)
        if verb == "clean":
            self.clean.add(first)
        else:
            (self.hot if verb == "heat" else self.cool).add(first)
            (self.cool if verb == "heat" else self.hot).discard(first)
        return f"You {verb} the {item} using the {place}."

    def _examine(self, receptacle: int) -> str:
        name = self._name(receptacle)
        openable = receptacle in self.problem.openable
        if openable and receptacle not in self.opened:
            return f"The {name} is closed."
        items = texts.listing([self.problem.objects[item] for item in self.contents[receptacle]])
        return f"The {name} is open. In it, you see {items}." if openable else f"On the {name}, you see {items}."

    def _examine_held(self, item: int) -> str:
        problem = self.problem
        inner = None
        if item in problem.receptacle_objects:
            inner = [problem.objects[i] for i in problem.inner.get(item, ())]
        return texts.held_object(
            problem.objects[item],
            inner,
            clean=item in self.clean,
            hot=item in self.hot,
            cool=item in self.cool,
            sliced=item in self.sliced,
        )

    def _look(self) -> str:
        here = self._rooms.here.get(self.location, ())
        if not here:
            return f"{texts.MIDDLE_OF_ROOM}nothing."  # the list of receptacles is in the intro only
        beside = [
            self.problem.objects[item]
            for item in sorted({o for o, _ in self.taken if self.location in self.object_locations[o]})
            for receptacle in here
            if (item, receptacle) in self.taken
        ]
        facing = texts.listing([self._name(r) for r in here], article="")
        return f"You are facing the {facing}. Next to it, you see {texts.listing(beside)}."

    def _goal_holds(self) -> bool:
        goal = self.problem.goal
        if goal.lamp_type:
            if self.held not in self._goal_objects:
                return False
            lit = self.toggled & self._goal_lamps
            here = self._rooms.here.get(self.location, ())
            return bool(lit) and any(not lit.isdisjoint(self.contents[r]) for r in here)
        wanted = self._goal_objects
        if goal.condition:
            wanted = wanted & {"clean": self.clean, "hot": self.hot, "cool": self.cool}[goal.condition]
        return any(sum(o in wanted for o in self.contents[r]) >= goal.count for r in self._goal_receptacles)
