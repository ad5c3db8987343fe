"""The numbers that a paper prints, looked up by arm and place; read from its file by `encore.report.reported`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from encore.report.comparison import ReportedValue


@dataclass(frozen=True, slots=True)
class PaperClaim:
    """Arm `a` above arm `b` on a panel. `basis`: reported (a table), figure (no number), implied (by the argument)."""

    id: str
    text: str
    setting: str
    basis: str
    a: str
    b: str
    environment: str
    panel: str
    metric: str
    source: str


@dataclass(frozen=True, slots=True)
class PaperCostClaim:
    """What the paper says of time. `kind`: `faster` (arm a takes less time than arm b) or `probe_share` (the probe
    takes less than `bound` of arm a's total)."""

    id: str
    text: str
    kind: str
    environment: str
    source: str
    a: str
    b: str = ""
    bound: float = 0.0


@dataclass(frozen=True, slots=True)
class PaperFigure:
    """A figure that shows `methods` without printing a number of them."""

    source: str
    environment: str
    methods: tuple[str, ...]
    shows: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What a set of arm ids means; `methods` None: every arm of the paper has its number there."""

    text: str
    methods: tuple[str, ...] | None
    reason: str


Key = tuple[str, str, str, str, str | None]  # environment, method, panel, metric, task type


@dataclass(frozen=True, slots=True)
class ReportedNumbers:
    """All of one paper; made by `load`."""

    paper: str
    title: str
    citation: str
    scale: str
    warnings: dict[str, str]
    settings: dict[str, Setting]
    methods: dict[str, str]
    values: dict[Key, dict[str, ReportedValue]]  # by backbone, in the order of the file
    claims: list[PaperClaim]
    cost_claims: list[PaperCostClaim]
    figures: list[PaperFigure]
    content: dict[str, Any] = field(repr=False)  # the file as it is, for `derived` and `statements`

    def lookup(
        self,
        environment: str,
        method: str,
        panel: str,
        metric: str,
        task_type: str | None = None,
        *,
        backbone: str | None = None,
        setting: str = "full",
    ) -> ReportedValue | None:
        """The printed value, None where the paper prints none (`reason` says why).

        `backbone` None takes the first of the file; `setting` keeps an arm id that means something else there (a random
        half without RL) from being given the number of its namesake. Raises KeyError for an unknown setting.
        """
        allowed = self.settings[setting].methods
        if allowed is not None and method not in allowed:
            return None
        found = self.values.get((environment, method, panel, metric, task_type), {})
        if backbone is not None:
            return found.get(backbone)
        return next(iter(found.values()), None)

    def reason(self, method: str, setting: str = "full") -> str:
        """Why `lookup` has no value for this arm, in one clause."""
        allowed = self.settings[setting].methods
        if allowed is not None and method not in allowed:
            return self.settings[setting].reason
        figure = next((figure for figure in self.figures if method in figure.methods), None)
        return f"shown in {figure.source}, no number" if figure else "not printed in the paper"

    def backbones(self) -> list[str]:
        """The paper's models, in the order of its tables."""
        return list(dict.fromkeys(name for values in self.values.values() for name in values))

    def claims_of(self, setting: str, arms: Iterable[str] | None = None) -> list[PaperClaim]:
        """Claims of a setting; with `arms`, those between two of them."""
        present = None if arms is None else set(arms)
        return [
            claim
            for claim in self.claims
            if claim.setting == setting and (present is None or {claim.a, claim.b} <= present)
        ]
