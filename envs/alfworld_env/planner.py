"""The oracle: a shortest plan from the full state, hidden contents included.

No search over commands is needed: a plan is "fetch, treat, deliver" (twice for two objects; "fetch, go to the lamp, use
it" for looking), and its length depends only on which object, station, lamp and receptacle are chosen. So `plan` weighs
the choices that can differ in length and writes out the best. ALFWorld's own planner calls Fast Downward at every step.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from .engine import STATIONS, FastEngine
from .environment import AlfworldEnv
from .problem import Problem

_VERBS = {"clean": "clean", "hot": "heat", "cool": "cool"}
Errand = tuple[str, int, int]  # ("take" | "put" | "treat" | "use", object, receptacle)


def plan(game: Problem | AlfworldEnv | FastEngine) -> list[str] | None:
    """The commands of a shortest way to win from the given state ([] if won); None if there is none.

    Takes a `Problem` (its initial state) or a running episode, which is left as it is. If the agent holds an object
    that does not help, the plan first puts it down at the nearest place: a step or two over the optimum at worst.
    """
    if isinstance(game, Problem):
        return _Planner(FastEngine(game, "")).plan()
    return _Planner((game.state if isinstance(game, AlfworldEnv) else game).clone()).plan()


class _Planner:
    def __init__(self, engine: FastEngine) -> None:
        self.engine = engine
        self.problem = engine.problem
        self.commands: list[str] = []

    def plan(self) -> list[str] | None:
        if self.engine.won:
            return []
        if not self._free_hands():
            return None
        routes = self._look_routes() if self.problem.goal.lamp_type else self._placement_routes()
        best = min(routes, key=self._cost, default=None)
        if best is None:
            return None
        self._carry_out(best)
        return self.commands if self.engine.won else None

    def _wanted(self) -> list[int]:
        goal, problem = self.problem.goal, self.problem
        able = {"clean": problem.cleanable, "hot": problem.heatable, "cool": problem.coolable}.get(goal.condition)
        wanted = (o for o, t in enumerate(problem.object_types) if t == goal.object_type)
        return [o for o in wanted if able is None or o in able]

    def _sources(self, items: Iterable[int]) -> list[tuple[int, int]]:
        """(object, receptacle to take it from); full hands can only use the object they hold, its receptacle is -1."""
        if self.engine.held is not None:
            return [(self.engine.held, -1)]
        return self._resting(items)

    def _resting(self, items: Iterable[int]) -> list[tuple[int, int]]:
        chosen = self.problem.pickupable.intersection(items)
        return [(item, r) for r, contents in enumerate(self.engine.contents) for item in contents if item in chosen]

    def _look_routes(self) -> list[list[Errand]]:
        problem, engine = self.problem, self.engine
        lamps = [o for o in problem.toggleable if problem.object_types[o] == problem.goal.lamp_type]
        stands = [(lamp, r) for r, contents in enumerate(engine.contents) for lamp in lamps if lamp in contents]
        return [
            [*_fetch(item, source), ("use", lamp, stand)]
            for (item, source), (lamp, stand) in product(self._sources(self._wanted()), stands)
        ]

    def _placement_routes(self) -> list[list[Errand]]:
        goal, problem, engine = self.problem.goal, self.problem, self.engine
        wanted = self._wanted()
        sources = self._sources(wanted)
        source_places = {problem.receptacle_locations[r] for _, r in sources if r >= 0} | {engine.location}
        verb = _VERBS.get(goal.condition)
        stations = [r for r, t in enumerate(problem.receptacle_types) if verb and STATIONS.get(t) == verb]
        stations = self._unlike(stations, source_places)
        station_places = {problem.receptacle_locations[r] for r in stations}
        targets = [
            r
            for r, t in enumerate(problem.receptacle_types)
            if t == goal.receptacle_type and (t, goal.object_type) in problem.can_contain
        ]
        holding = {r for r in targets if any(o in wanted for o in engine.contents[r])}
        near = source_places | station_places
        targets = [*holding, *self._unlike([r for r in targets if r not in holding], near)]
        if goal.count == 2:
            return self._two_routes(sources, targets, set(wanted))
        treated = {"clean": engine.clean, "hot": engine.hot, "cool": engine.cool}.get(goal.condition, set(wanted))
        routes = []
        for item, source in self._one_of_each(sources, treated):
            fetch = _fetch(item, source)
            treatments: list[list[Errand]] = [[]] if item in treated else [[("treat", item, s)] for s in stations]
            routes += [[*fetch, *treat, ("put", item, target)] for treat, target in product(treatments, targets)]
            if self._also_in(item, holding - {source}):
                routes += [[*fetch, *treat] for treat in treatments]
        return routes

    def _two_routes(self, sources: list[tuple[int, int]], targets: list[int], wanted: set[int]) -> list[list[Errand]]:
        routes: list[list[Errand]] = []
        for target in targets:
            there = wanted.intersection(self.engine.contents[target])
            # Two of a receptacle are as good as all of it: objects of one type differ in nothing that counts here.
            outside: list[tuple[int, int]] = []
            for item, source in sources:
                if item not in there and sum(s == source for _, s in outside) < 2:
                    outside.append((item, source))
            if there:
                routes += [[*_fetch(item, source), ("put", item, target)] for item, source in outside]
                continue
            seconds = outside if self.engine.held is None else self._resting(wanted)
            routes += [
                [*_fetch(*first), ("put", first[0], target), *_fetch(*second), ("put", second[0], target)]
                for first, second in product(outside, seconds)
                if first[0] != second[0]
            ]
        return routes

    def _unlike(self, receptacles: list[int], places: set[int]) -> list[int]:
        """One of each kind of receptacle, where a kind is what can make a plan longer or shorter."""
        kinds: dict[tuple[int, bool], int] = {}
        for receptacle in receptacles:
            location = self.problem.receptacle_locations[receptacle]
            kinds.setdefault((location if location in places else -1, self._shut(receptacle)), receptacle)
        return list(kinds.values())

    def _one_of_each(self, sources: list[tuple[int, int]], treated: set[int]) -> list[tuple[int, int]]:
        kinds: dict[tuple[int, bool, tuple[int, ...]], tuple[int, int]] = {}
        for item, source in sources:
            places = tuple(r for r, contents in enumerate(self.engine.contents) if item in contents)
            kinds.setdefault((source, item in treated, places), (item, source))
        return list(kinds.values())

    def _also_in(self, item: int, receptacles: set[int]) -> bool:
        """Whether an object lies in one of them: it can be in several receptacles, and in some while it is held."""
        return any(item in self.engine.contents[r] for r in receptacles)

    def _shut(self, receptacle: int) -> bool:
        return receptacle in self.problem.openable and receptacle not in self.engine.opened

    def _cost(self, route: list[Errand]) -> int:
        """Number of commands that the route takes."""
        locations, location, cost = self.problem.receptacle_locations, self.engine.location, len(route)
        opened: list[int] = []
        for errand, _, receptacle in route:
            if locations[receptacle] != location:
                location = locations[receptacle]
                cost += 1
            if errand in ("take", "put") and receptacle not in opened and self._shut(receptacle):
                opened.append(receptacle)
                cost += 1
        return cost

    def _carry_out(self, route: list[Errand]) -> None:
        problem, engine = self.problem, self.engine
        for errand, item, receptacle in route:
            name, place = problem.objects[item], problem.receptacles[receptacle]
            if problem.receptacle_locations[receptacle] != engine.location:
                self._do(f"go to {place}")
            if errand in ("take", "put") and self._shut(receptacle):
                self._do(f"open {place}")
            if errand == "take":
                self._do(f"take {name} from {place}")
            elif errand == "put":
                self._do(engine.dialect.put.format(name, place))
            elif errand == "use":
                self._do(f"use {name}")
            else:
                self._do(f"{_VERBS[problem.goal.condition]} {name} with {place}")

    def _do(self, command: str) -> None:
        if not self.engine.won:  # an object in two receptacles can win before the route ends
            self.engine.step(command)
            self.commands.append(command)

    def _free_hands(self) -> bool:
        """Puts down a held object that the goal does not ask for; False if no receptacle takes it."""
        problem, held, goal = self.problem, self.engine.held, self.problem.goal
        if held is None:
            return True
        targets = {r for r, t in enumerate(problem.receptacle_types) if t == goal.receptacle_type}
        counts_already = goal.count == 2 and self._also_in(held, targets)  # then only the other one is missing
        if held in self._wanted() and not counts_already:
            return True
        places = [r for r in range(len(problem.receptacles)) if problem.accepts(r, held)]
        if not places:
            return False
        self._carry_out([min(([("put", held, r)] for r in places), key=self._cost)[0]])
        return True


def _fetch(item: int, source: int) -> list[Errand]:
    return [("take", item, source)] if source >= 0 else []
