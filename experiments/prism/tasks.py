"""The tasks behind demonstrations: what RL plays, and never the expert's actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from encore.environments import Tasks
from encore.errors import UserError


def tasks_of(tasks: Tasks, number: int, seed: int, ids: Sequence[str]) -> list[Any]:
    """The tasks of the demonstrations `ids`, in their order; `number` and `seed` drew the demonstrations.

    Raises UserError if one of `ids` is not among them: the demonstrations come from other parameters.
    """
    by_id = {tasks.describe(task)["id"]: task for task in tasks.demonstrations(number, seed)}
    absent = [name for name in ids if name not in by_id]
    if absent:
        raise UserError(
            f"{len(absent)} of {len(ids)} demonstrations, the first {absent[0]}, are of no training task of these "
            "parameters: run `dvc repro` from prism.demos on"
        )
    return [by_id[name] for name in ids]
