"""The gradient walk of G2IS, for all components at once.

Source: arXiv 2502.11062, equation 4 and constraints 5 and 6, in the order of its public code (algorithm 1).

A walk needs the cosines of each pick with the whole pool, and reading the pool is what costs. Two things make the
readings fewer, and neither changes the result. A sketch of the pool often tells the next pick from bounds on the
cosines and a few rows. And where it does not, all components walk in step: they are worked through in order, but what
one picks depends on earlier ones only where both want the same sample. So their picks' cosines come from one reading.
A walk keeps away from what earlier components have picked so far, and goes back where they pick otherwise after all.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from encore.gradients import Store
from encore.selection.bounds import Bounds
from encore.selection.exact_choice import NeighbourLists
from encore.selection.lane import Lane
from encore.selection.principal import Core, core_knowledge
from encore.selection.rows import Rows, UnitRows, whole
from encore.selection.selected import budget, largest_remainder
from encore.selection.sketch import Sketch, make_sketch
from encore.selection.step import Step
from encore.selection.walk_options import WalkOptions

log = logging.getLogger(__name__)

_QUERIES_AT_ONCE = 256
_COSINES_MEMORY = 1 << 28
_LANES_MEMORY = 1 << 30
_BYTES_A_ROW = 25
"""Of a lane's vectors."""
_SPARSE = 0.25
"""Share of all pairs of queries and rows over which a product of whole matrices takes less time than single ones."""


@dataclass(frozen=True)
class Walk:
    """What a walk chose, in order, and what it had to spend."""

    steps: list[Step]
    budgets: list[int]
    """Of each component."""
    readings: int
    """How often the pool was read."""

    @property
    def indices(self) -> list[int]:
        return [step.row for step in self.steps]


def gradient_walk(
    train: Store | Tensor | np.ndarray,
    validation: Store | Tensor | np.ndarray,
    fraction: float,
    delta: float = 0.8,
    variance: float = 0.5,
    neighbours: int = 1000,
    *,
    graph: Int[np.ndarray, "rows neighbours"] | None = None,
    device: str | None = None,
    **options: object,
) -> list[int]:
    """Rows of `train` to train on, in order of choice; fewer than the budget where the constraints leave no other.

    Args:
        train: gradients of the pool (Adam's, in the paper), [rows, dim]; their lengths do not matter.
        validation: gradients of the targets (plain), [targets, dim]; their lengths do.
        fraction: of the pool, in (0, 1]; the budget is int(rows · fraction).
        delta, variance, neighbours, options: see `WalkOptions`.
        graph: neighbour lists, most similar first, in place of exact ones.

    Raises:
        UserError: no row; a row of zeros or with NaN; two equal rows; other widths of train and validation; targets
            too few or too much alike; a parameter out of its range.
    """
    from encore.selection.checks import check_rows, check_same_space

    settings = WalkOptions(delta=delta, variance=variance, neighbours=neighbours, **options)  # type: ignore[arg-type]
    count = budget(len(train), fraction)
    check_same_space(train, validation)
    core = core_knowledge(whole(validation, "target"), **settings.core())
    check_rows(train)
    lists = None if graph is None else graph.__getitem__
    return walk(UnitRows(train, device=device), core, count, settings, lists=lists).indices


def walk(
    rows: Rows,
    core: Core,
    count: int,
    options: WalkOptions | None = None,
    *,
    excluded: Collection[int] = (),
    lists: NeighbourLists | None = None,
    sketch: Sketch | bool = True,
) -> Walk:
    """Walks from the best sample of each component until its share of `count` is spent; see `gradient_walk`.

    Args:
        sketch: of the rows; True: one is made where it is of use, which is on a CPU and for pools that are not small;
            False: none. It changes how often the pool is read and nothing else.
    """
    options = options or WalkOptions()
    budgets = largest_remainder(count, core.weights.tolist())
    device = torch.device(getattr(rows, "device", "cpu"))
    taken = torch.zeros(len(rows), dtype=torch.bool, device=device)
    taken[list(excluded)] = True
    in_step = max(1, min(_QUERIES_AT_ONCE, _LANES_MEMORY // (_BYTES_A_ROW * len(rows))))
    numbers = [number for number, share in enumerate(budgets) if share]
    affinities: Tensor | None = None
    readings = 0
    if sketch is True:  # on a GPU a reading costs no more than the steps do
        made, affinities = (
            make_sketch(rows, core.components[numbers[:in_step]]) if device.type == "cpu" and numbers else (None, None)
        )
        readings += affinities is not None
    else:
        made = sketch or None
    bounds = None if made is None else Bounds(made)
    waiting = [Lane(one, core.components[one], budgets[one], rows, options, taken, lists, bounds) for one in numbers]
    if affinities is not None:
        for lane, affinity in zip(waiting, affinities, strict=False):
            lane.feed(affinity[None])
    steps: list[Step] = []
    while waiting:
        earlier = {step.row for step in steps}
        for lane in waiting[:in_step]:
            lane.avoid(earlier)
            lane.go_on()
            if lane is waiting[0] and lane.done:
                break
            earlier |= lane.likely_picks
        else:
            readings += _advance(waiting[:in_step], rows)
        while waiting and waiting[0].done:
            finished = waiting.pop(0)
            _report(finished)
            steps += finished.steps
            if waiting:
                waiting[0].avoid({step.row for step in steps})
    return Walk(steps, budgets, readings)


def _advance(lanes: list[Lane], rows: Rows) -> int:
    """One reading of the pool for all lanes; the first, on which the others depend, is served first."""
    asked: list[tuple[Lane, list[int | None]]] = []
    room = max(1, min(_QUERIES_AT_ONCE, _COSINES_MEMORY // (4 * len(rows))))
    for lane in lanes:
        wants = lane.wants()[:room]
        room -= len(wants)
        if wants:
            asked.append((lane, wants))
    if not asked:
        return 0
    queries = torch.cat([_queries(lane, wants, rows) for lane, wants in asked]).float()
    if all(lane.checks_only for lane, _ in asked):
        doubtful = [one.doubtful for lane, wants in asked for one in list(lane.predicted.values())[: len(wants)]]
        if sum(len(one) for one in doubtful) < _SPARSE * len(queries) * len(rows):
            _check_some(asked, rows.some_cosines(queries, doubtful))
            return 1
    cosines = rows.cosines(queries)
    for lane, wants in asked:
        lane.feed(cosines[: len(wants)])
        cosines = cosines[len(wants) :]
    return 1


def _check_some(asked: list[tuple[Lane, list[int | None]]], cosines: list[Float[np.ndarray, " doubtful"]]) -> None:
    """Gives each lane the cosines of its predictions' doubtful rows, until one was wrong."""
    for lane, wants in asked:
        mine, cosines = cosines[: len(wants)], cosines[len(wants) :]
        for one in mine:
            if not lane.check(one):
                break


def _queries(lane: Lane, wants: list[int | None], rows: Rows) -> Float[Tensor, "queries dim"]:
    return lane.direction[None] if wants[0] is None else rows.exact([row for row in wants if row is not None])


def _report(lane: Lane) -> None:
    if len(lane.steps) < lane.budget:
        log.warning(
            "component %d: %d of %d samples chosen, no other meets the constraints",
            lane.component, len(lane.steps), lane.budget,
        )  # fmt: skip
