"""Many episodes of text environments played by one policy in one batch."""

from encore import environment_pools as pools
from encore.rollout.collect import collect
from encore.rollout.episodes import Episode, Sequence, StopReason, Turn, sequences
from encore.rollout.metrics import metrics
from encore.rollout.policy import Policy, Request, Response, Session
from encore.rollout.prompts import ChatTurns, Prompt, SingleTurn
from encore.rollout.transformers_policy import TransformersPolicy
from encore.rollout.vllm_policy import VLLMPolicy

__all__ = [
    "ChatTurns",
    "Episode",
    "Policy",
    "Prompt",
    "Request",
    "Response",
    "Sequence",
    "Session",
    "SingleTurn",
    "StopReason",
    "TransformersPolicy",
    "Turn",
    "VLLMPolicy",
    "collect",
    "metrics",
    "pools",
    "sequences",
]
