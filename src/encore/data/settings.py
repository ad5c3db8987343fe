"""Which data to take, as a section of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from encore.errors import UserError

SOURCES = ("procedural", "local", "hub")


@dataclass(frozen=True)
class DataSettings:
    """Where pools and targets come from, and how many rows of them.

    Attributes:
        source: procedural (generated here), local (a folder of files as their authors publish them) or hub.
        path: that folder; null: $ENCORE_INSTRUCT.
        pools: names of pools, joined into one.
        pool_size: rows of each pool, drawn with `seed` where there are more; null: all.
        shots: validation rows a subtask, which the selection sees and nothing is tested on.
        evaluation: test rows a subtask at most; null: all.
        target_size: test rows of a target at most, in equal parts of its subtasks; null: all that `evaluation` leaves.
        revisions: hub revision by data set; default: its main branch, whose commit the data card then names.
    """

    source: str = "procedural"
    path: str | None = None
    pools: list[str] = field(default_factory=lambda: ["families"])
    pool_size: int | None = None
    shots: int = 8
    evaluation: int | None = None
    target_size: int | None = None
    seed: int = 0
    revisions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise UserError(f"data.source is '{self.source}': choose from {', '.join(SOURCES)}")
        if not self.pools:
            raise UserError("data.pools is empty: name at least one pool")
        if self.shots < 1:
            raise UserError(f"data.shots is {self.shots}: a selection needs at least one validation row a subtask")
        for name in ("pool_size", "evaluation", "target_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"data.{name} is {value}: at least 1, or null for all there are")
