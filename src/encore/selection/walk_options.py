"""The choices that the description of the gradient walk leaves open, each with the reading of the authors' code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from encore.errors import UserError
from encore.selection.principal import PcaMode, Sign


@dataclass(frozen=True)
class WalkOptions:
    """Raises UserError for a value out of its range, with the name of the parameter."""

    delta: float = 0.8
    """A pick may lower the consistency with the component to this share of what it was (constraint 6)."""
    neighbours: int = 1000
    """Length K of the list that a walk looks through before it falls back; K ≥ N − 1 never falls back with success."""
    consistency: Literal["absolute", "signed"] = "absolute"
    """Whether a set that points against the component counts as consistent with it."""
    variance: float = 0.5
    pca_mode: PcaMode = "variance"
    centred: bool = True
    sign: Sign = "native"
    """These four: see `principal.core_knowledge`."""

    def __post_init__(self) -> None:
        if not 0 <= self.delta <= 1:
            raise UserError(f"delta is {self.delta}: it must be between 0 and 1")
        if self.neighbours < 0:
            raise UserError(f"neighbours is {self.neighbours}: it must be 0 or more")
        if self.consistency not in ("absolute", "signed"):
            raise UserError(f'consistency is {self.consistency!r}: it must be "absolute" or "signed"')

    @classmethod
    def names(cls) -> list[str]:
        return [one.name for one in fields(cls)]

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> WalkOptions:
        """Those of `parameters` that are options of the walk."""
        return cls(**{name: parameters[name] for name in cls.names() if name in parameters})

    def core(self) -> dict[str, Any]:
        """Arguments of `core_knowledge`."""
        return {"variance": self.variance, "mode": self.pca_mode, "centred": self.centred, "sign": self.sign}

    def core_options(self) -> dict[str, Any]:
        """The options that say which components there are, by their names as parameters."""
        return {name: getattr(self, name) for name in ("variance", "pca_mode", "centred", "sign")}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
