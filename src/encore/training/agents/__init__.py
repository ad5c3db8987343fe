"""Reinforcement learning of agents on whole episodes, on TRL's GRPOTrainer: GRPO and GiGPO.

The trainer is imported on first use: settings alone cost no import of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encore.training.agents.settings import AgentRLSettings, GuardSettings

if TYPE_CHECKING:
    from encore.training.agents.guard import CollapseError
    from encore.training.agents.trainer import AgentTrainer, Silent
    from encore.training.agents.training import AgentRLResult, agent_rl

__all__ = ["AgentRLResult", "AgentRLSettings", "AgentTrainer", "CollapseError", "GuardSettings", "Silent", "agent_rl"]

_PLACES = {
    "AgentRLResult": "training",
    "agent_rl": "training",
    "AgentTrainer": "trainer",
    "Silent": "trainer",
    "CollapseError": "guard",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
