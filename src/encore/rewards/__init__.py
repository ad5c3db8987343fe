"""Reward functions, one file each, and what turns their values into something that can be weighed.

A reward has TRL's shape, `reward(prompts, completions, **columns) -> list of float or None`, and a `__name__`; None is
a response that cannot be scored. `reward(name, parameters, context)` makes one; `score` calls several and checks them;
`normalize` makes one reward's values comparable within a group. Imported on first use: the names cost no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encore.rewards.registry import Reward, names, reward

if TYPE_CHECKING:
    from encore.rewards.context import Context
    from encore.rewards.normalization import normalize
    from encore.rewards.preference_training import PreferencePair, train_preference_model
    from encore.rewards.scoring import score, valid

_PLACES = {
    "Context": "context",
    "normalize": "normalization",
    "PreferencePair": "preference_training",
    "train_preference_model": "preference_training",
    "score": "scoring",
    "valid": "scoring",
}

__all__ = [
    "Context",
    "PreferencePair",
    "Reward",
    "names",
    "normalize",
    "reward",
    "score",
    "train_preference_model",
    "valid",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
