"""Episodes: the loop between a batch of environments and a policy."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from encore.chat import ChatFormat
from encore.environments import TextEnv
from encore.rollout.decoder import Decoder


class StopReason(enum.StrEnum):
    """Why an episode ended."""

    WON = "won"
    LOST = "lost"  # the environment said done without a win
    STEP_LIMIT = "step_limit"
    CONTEXT_FULL = "context_full"
    ENVIRONMENT_ERROR = "environment_error"


@dataclass
class Episode:
    """One episode. `observations[0]` is the first observation; `actions[k]` answers `observations[k]`."""

    observations: list[str]
    actions: list[str] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    stop_reason: StopReason | None = None
    invalid_actions: int = 0  # not admissible when they were given
    unended_actions: int = 0  # cut at max_action_tokens
    tokens_generated: int = 0
    error: str = ""

    @property
    def won(self) -> bool:
        return self.stop_reason is StopReason.WON

    @property
    def steps(self) -> int:
        return len(self.actions)


def collect(
    model: PreTrainedModel,
    chat: ChatFormat,
    environments: Sequence[TextEnv],
    *,
    max_steps: int,
    max_length: int,
    max_action_tokens: int = 32,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 256,
) -> list[Episode]:
    """Plays one episode in each environment; the episodes come in the environments' order.

    `max_length` is the context in tokens: an episode whose next turn would not fit ends as `context_full`.
    `temperature` 0 is greedy; otherwise episode `i` draws from a generator seeded by (`seed`, `i`). An environment
    that raises ends its own episode as `environment_error`.
    """
    episodes: list[Episode] = []
    for start in range(0, len(environments), batch_size):
        chunk = environments[start : start + batch_size]
        generators = None
        if temperature > 0:
            generators = [torch.Generator().manual_seed(seed * 1_000_003 + start + row) for row in range(len(chunk))]
        batch = _Batch(model, chat, chunk, generators)
        while batch.alive:
            batch.turn(max_steps, max_length, max_action_tokens, temperature)
        episodes += batch.episodes
    return episodes


class _Batch:
    """Episodes that are decoded together; `alive` lists the indices of the rows still in the decoder."""

    def __init__(
        self,
        model: PreTrainedModel,
        chat: ChatFormat,
        environments: Sequence[TextEnv],
        generators: Sequence[torch.Generator] | None,
    ) -> None:
        self.chat = chat
        self.environments = environments
        self.generators = generators
        self.episodes: list[Episode] = []
        self.alive: list[int] = []
        self.pending: list[list[int]] = []  # tokens that the next append puts into the cache, by episode
        for index, environment in enumerate(environments):
            try:
                observation = environment.reset()
            except Exception as error:  # any failure of an environment is that episode's end, not the batch's
                self.episodes.append(_failed(Episode([]), error))
                self.pending.append([])
                continue
            self.episodes.append(Episode([observation]))
            self.pending.append(chat.first(observation))
            self.alive.append(index)
        pad_id = chat.tokenizer.pad_token_id
        self.decoder = Decoder(model, pad_id, chat.end_id, rows=len(self.alive))
        self.lengths = [0] * len(environments)

    def turn(self, max_steps: int, max_length: int, max_action_tokens: int, temperature: float) -> None:
        self._drop(
            [
                index
                for index in self.alive
                if self.lengths[index] + len(self.pending[index]) + max_action_tokens + 1 > max_length
            ],
            StopReason.CONTEXT_FULL,
        )
        if not self.alive:
            return
        logits = self.decoder.append([self.pending[index] for index in self.alive])
        generators = None if self.generators is None else [self.generators[index] for index in self.alive]
        responses, ended = self.decoder.respond(logits, max_action_tokens, temperature, generators)
        for index, response, has_ended in zip(list(self.alive), responses, ended, strict=True):
            self._step(index, response, has_ended, max_steps)
        self._drop([index for index in self.alive if self.episodes[index].stop_reason], None)

    def _step(self, index: int, response: list[int], ended: bool, max_steps: int) -> None:
        episode, environment = self.episodes[index], self.environments[index]
        action = str(self.chat.tokenizer.decode(response, skip_special_tokens=True)).strip()
        episode.tokens_generated += len(response) + ended
        episode.unended_actions += not ended
        try:
            valid = action in environment.admissible
            step = environment.step(action)
        except Exception as error:  # as above
            _failed(episode, error)
            return
        episode.actions.append(action)
        episode.rewards.append(step.reward)
        episode.observations.append(step.observation)
        episode.invalid_actions += not valid
        if step.won:
            episode.stop_reason = StopReason.WON
        elif step.done:
            episode.stop_reason = StopReason.LOST
        elif episode.steps >= max_steps:
            episode.stop_reason = StopReason.STEP_LIMIT
        self.lengths[index] += len(self.pending[index]) + len(response)
        # The cache has all of the response but its last token, and not the end token.
        last = response[-1:] if not ended else []
        self.lengths[index] -= len(last)
        self.pending[index] = [*last, self.chat.end_id, *self.chat.next(step.observation)]

    def _drop(self, indices: Sequence[int], reason: StopReason | None) -> None:
        if not indices:
            return
        if reason is not None:
            for index in indices:
                self.episodes[index].stop_reason = reason
        gone = set(indices)
        rows = [row for row, index in enumerate(self.alive) if index not in gone]
        self.alive = [self.alive[row] for row in rows]
        if self.alive:
            self.decoder.keep(rows)


def _failed(episode: Episode, error: Exception) -> Episode:
    episode.stop_reason = StopReason.ENVIRONMENT_ERROR
    episode.error = f"{type(error).__name__}: {error}"
    return episode
