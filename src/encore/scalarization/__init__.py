"""How several rewards become one: MAESTRO's Conductor and its rivals.

Imported on first use: the settings alone cost no import of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encore.scalarization.settings import ConductorSettings

if TYPE_CHECKING:
    from encore.scalarization.advantages import group_advantages, normalized, scores
    from encore.scalarization.conductor import Conductor
    from encore.scalarization.context import Batch, Context, Weighing
    from encore.scalarization.registry import Scalarizer, names, scalarizer

__all__ = [
    "Batch",
    "Conductor",
    "ConductorSettings",
    "Context",
    "Scalarizer",
    "Weighing",
    "group_advantages",
    "names",
    "normalized",
    "scalarizer",
    "scores",
]

_PLACES = {
    "Batch": "context",
    "Conductor": "conductor",
    "Context": "context",
    "Scalarizer": "registry",
    "Weighing": "context",
    "group_advantages": "advantages",
    "normalized": "advantages",
    "scores": "advantages",
    "names": "registry",
    "scalarizer": "registry",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
