"""Many episodes of text environments played by one policy in one batch."""

from encore.rollout.collect import Episode, StopReason, collect

__all__ = ["Episode", "StopReason", "collect"]
