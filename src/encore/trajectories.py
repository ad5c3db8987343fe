"""Trajectories: what happened in an episode, and the tokens and response mask made from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from encore.chat import ChatFormat
from encore.errors import UserError


@dataclass(frozen=True)
class Trajectory:
    """One episode: `observations[0], actions[0], observations[1], …`; the last observation may follow the last action.

    `steps` of an episode is `len(actions)`. The actions of `context_turns` are part of what happened but not to be
    imitated: their tokens are no response tokens.
    """

    id: str
    environment: str
    task_type: str
    goal: str
    observations: list[str]
    actions: list[str]
    won: bool
    source: str = ""  # which expert or policy acted
    context_turns: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not len(self.actions) <= len(self.observations) <= len(self.actions) + 1:
            raise UserError(
                f"trajectory {self.id} has {len(self.observations)} observations and {len(self.actions)} actions: "
                "they must alternate, starting with an observation"
            )


@dataclass(frozen=True)
class Example:
    """Token ids of a trajectory and, for each, whether it is a response token (action or its end token)."""

    id: str
    input_ids: list[int]
    response_mask: list[int]

    def __len__(self) -> int:
        return len(self.input_ids)


def tokenize(trajectory: Trajectory, chat: ChatFormat, max_length: int | None = None) -> Example:
    """Tokens and response mask of a trajectory; the observation after the last action is left out.

    With `max_length`, whole turns are dropped from the end until it fits. Raises UserError if not even the first
    action fits.
    """
    input_ids: list[int] = []
    response_mask: list[int] = []
    for turn, action in enumerate(trajectory.actions):
        observation = trajectory.observations[turn]
        prompt = chat.first(observation) if turn == 0 else chat.next(observation)
        response = chat.action(action)
        if max_length is not None and len(input_ids) + len(prompt) + len(response) > max_length:
            if turn == 0:
                raise UserError(
                    f"trajectory {trajectory.id}: its first turn has {len(prompt) + len(response)} tokens, more than "
                    f"the context of {max_length}: raise policy.max_length"
                )
            break
        input_ids += prompt + response
        learned = int(turn not in trajectory.context_turns)
        response_mask += [0] * len(prompt) + [learned] * len(response)
    return Example(trajectory.id, input_ids, response_mask)


def write_jsonl(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """One JSON object a line."""
    with path.open("w", encoding="utf-8") as lines:
        for trajectory in trajectories:
            lines.write(json.dumps(asdict(trajectory), ensure_ascii=False) + "\n")


def read_jsonl(path: Path) -> Sequence[Trajectory]:
    """Reads what `write_jsonl` wrote. Raises UserError naming the line that is damaged."""
    trajectories = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                trajectories.append(Trajectory(**json.loads(line)))
            except (json.JSONDecodeError, TypeError) as error:
                raise UserError(f"{path}, line {number} is no trajectory ({error}): make the file again") from error
    return trajectories
