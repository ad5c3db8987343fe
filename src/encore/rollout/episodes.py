"""What happened in an episode, and the token sequences that training sees of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class StopReason(enum.StrEnum):
    """Why an episode ended."""

    WON = "won"
    LOST = "lost"  # the environment said done without a win
    STEP_LIMIT = "step_limit"
    CONTEXT_FULL = "context_full"
    PARSE_ERROR = "parse_error"  # only where the prompt format ends episodes for it
    ENVIRONMENT_ERROR = "environment_error"


@dataclass
class Turn:
    """One answer of the policy: what was put before it, what it said, and how likely each of its tokens was.

    `context_ids` are the tokens put before the response: in a conversation those that are new since the last response
    (with the end token that a cut response did not produce), in single-turn prompts the whole prompt. `logprobs` are
    natural logarithms, at the sampling temperature (greedy: at temperature 1).
    """

    context_ids: list[int]
    response_ids: list[int]  # with the end token, if the policy ended its turn
    logprobs: list[float]  # of response_ids
    admissible: bool  # was the action admissible when it was given


@dataclass
class Episode:
    """One episode. `observations[0]` is the first observation; `actions[k]` answers `observations[k]`."""

    observations: list[str]
    actions: list[str] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    stop_reason: StopReason | None = None
    invalid_actions: int = 0  # not admissible when they were given, or not to be found in the answer
    unended_actions: int = 0  # cut at max_action_tokens
    parse_errors: int = 0  # answers without an action; each is an invalid action too
    tokens_generated: int = 0
    error: str = ""
    turns: list[Turn] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)  # the environment's state before each action
    conversation: bool = True  # turns continue one another; else each has its own prompt

    @property
    def won(self) -> bool:
        return self.stop_reason is StopReason.WON

    @property
    def steps(self) -> int:
        return len(self.actions)


@dataclass(frozen=True)
class Sequence:
    """Tokens as the policy saw and made them; all lists have one entry a token."""

    input_ids: list[int]
    response_mask: list[int]  # 1 for tokens that the policy sampled
    logprobs: list[float]  # 0.0 where no response
    turn: list[int]  # the turn that each token belongs to, as context or as response


def sequences(episode: Episode) -> list[Sequence]:
    """What training sees: one sequence for a conversation, one a turn for single-turn prompts."""
    parts = [
        Sequence(
            input_ids=turn.context_ids + turn.response_ids,
            response_mask=[0] * len(turn.context_ids) + [1] * len(turn.response_ids),
            logprobs=[0.0] * len(turn.context_ids) + turn.logprobs,
            turn=[number] * (len(turn.context_ids) + len(turn.response_ids)),
        )
        for number, turn in enumerate(episode.turns)
    ]
    if not episode.conversation or not parts:
        return parts
    return [
        Sequence(
            input_ids=[token for part in parts for token in part.input_ids],
            response_mask=[mask for part in parts for mask in part.response_mask],
            logprobs=[value for part in parts for value in part.logprobs],
            turn=[number for part in parts for number in part.turn],
        )
    ]
