"""Numbers of a batch of episodes."""

from __future__ import annotations

from collections.abc import Sequence

from encore.rollout.episodes import Episode, StopReason


def metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Means over episodes: `success`, `return` (sum of rewards), `steps`, `tokens` (generated), `parse_errors`,
    `stop/<reason>`; shares of all actions: `invalid_share`, `unended_share`. Empty without episodes.

    Every stop reason has its key, so that a curve has no holes.
    """
    if not episodes:
        return {}
    number = len(episodes)
    # An answer that ended its episode as a parse error is an action too, though no environment has seen it.
    answers = max(1, sum(max(episode.steps, len(episode.turns)) for episode in episodes))
    return {
        "success": sum(episode.won for episode in episodes) / number,
        "return": sum(sum(episode.rewards) for episode in episodes) / number,
        "steps": sum(episode.steps for episode in episodes) / number,
        "tokens": sum(episode.tokens_generated for episode in episodes) / number,
        "invalid_share": sum(episode.invalid_actions for episode in episodes) / answers,
        "unended_share": sum(episode.unended_actions for episode in episodes) / answers,
        "parse_errors": sum(episode.parse_errors for episode in episodes) / number,
        **{
            f"stop/{reason}": sum(episode.stop_reason is reason for episode in episodes) / number
            for reason in StopReason
        },
    }
