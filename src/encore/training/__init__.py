"""Training of policies on TRL. The trainers are imported on first use: settings alone cost no import of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encore.training.settings import SFTSettings

if TYPE_CHECKING:
    from encore.training.supervised import SFTResult, sft

__all__ = ["SFTResult", "SFTSettings", "sft"]


def __getattr__(name: str) -> Any:
    if name in ("SFTResult", "sft"):
        from encore.training import supervised

        return getattr(supervised, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
