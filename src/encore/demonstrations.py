"""Expert episodes of tasks, as trajectories to imitate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from encore.environments import Tasks
from encore.errors import UserError
from encore.trajectories import Trajectory


def demonstrate(
    tasks: Tasks, environment: str, chosen: Sequence[Any], seed: int, source: str
) -> tuple[list[Trajectory], list[str]]:
    """An episode that the expert wins for each of `chosen`, and the ids of the tasks that it does not win.

    Raises UserError if it wins none.
    """
    trajectories: list[Trajectory] = []
    failed: list[str] = []
    for task in chosen:
        described = tasks.describe(task)
        world = tasks.environment(task)
        observations, actions, won = [world.reset()], [], False
        try:
            plan = tasks.expert(task, seed)
        except ValueError:  # the expert does not win this task
            plan = []
        for action in plan:
            step = world.step(action)
            actions.append(action)
            observations.append(step.observation)
            won = step.won
            if won:
                break
        if not won:
            failed.append(described["id"])
            continue
        trajectories.append(
            Trajectory(
                id=described["id"],
                environment=environment,
                task_type=described["task_type"],
                goal=described["goal"],
                observations=observations,
                actions=actions,
                won=won,
                source=source,
            )
        )
    if not trajectories:
        raise UserError(
            f"the expert won none of the {len(chosen)} training tasks of {environment}: there is nothing to learn"
        )
    return trajectories, failed
