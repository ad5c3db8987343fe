"""Episodes: the loop between many environments and a policy."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from encore.environments import TextEnv
from encore.errors import UserError
from encore.rollout.episodes import Episode, StopReason, Turn
from encore.rollout.policy import Policy, Request, Response, Session
from encore.rollout.prompts import ChatTurns, Prompt

OnTurn = Callable[[int, Episode], None]


def collect(
    policy: Policy,
    environments: Sequence[TextEnv],
    *,
    prompt: Prompt | None = None,
    max_steps: int,
    max_length: int,
    max_action_tokens: int = 32,
    temperature: float = 0.0,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    batch_size: int = 256,
    max_error_share: float = 1.0,
    on_turn: OnTurn | None = None,
) -> list[Episode]:
    """Plays one episode in each environment; the episodes come in the environments' order.

    At most `batch_size` episodes are alive; a finished one is replaced at once by the next environment, in order. An
    episode's draws depend on its own number of `seeds` alone (default: made from `seed` and the episode's index);
    `temperature` 0 is greedy. Environments of one game that follow one another share the work of their first prompt.
    An environment with `start_reset` and `start_step` (see `encore.environment_pools`) steps while others do and while
    the policy answers.

    `max_length` is the context in tokens: an episode whose next turn would not fit ends as `context_full`. An
    environment that raises, or gives what is no observation, ends its own episode as `environment_error`; raises
    UserError if more than the share `max_error_share` of all episodes ended so. `on_turn(index, episode)` is called
    after every turn of every episode.
    """
    if seeds is None:
        seeds = [seed * 1_000_003 + index for index in range(len(environments))]
    if len(seeds) != len(environments):
        raise UserError(f"{len(seeds)} seeds for {len(environments)} environments: give one seed an episode")
    if batch_size < 1 or max_action_tokens < 1:
        raise UserError(
            f"batch_size is {batch_size} and max_action_tokens {max_action_tokens}: both must be at least 1"
        )
    if max_action_tokens >= max_length:
        raise UserError(
            f"max_action_tokens is {max_action_tokens} and max_length {max_length}: a context must hold a prompt and "
            "an answer, so lower the first or raise the second"
        )
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise UserError(f"the temperature is {temperature}: it is a finite number from 0 (greedy)")
    rows = min(batch_size, len(environments))
    with policy.session(
        rows, max_length=max_length, max_action_tokens=max_action_tokens, temperature=temperature
    ) as session:
        loop = _Loop(
            policy, session, environments, prompt or ChatTurns(), seeds, max_steps, max_length, max_action_tokens
        )
        loop.admit(rows)
        while loop.alive:
            for row in chain(loop.advance(session.poll()), loop.gather()):
                if on_turn is not None:
                    on_turn(row, loop.players[row].episode)
            loop.admit(rows)
    episodes = [player.episode for player in loop.players]
    failed = [(index, episode) for index, episode in enumerate(episodes) if episode.error]
    if len(failed) > max_error_share * len(episodes):
        raise UserError(
            f"{len(failed)} of {len(episodes)} environments failed (more than the share {max_error_share:g} that may), "
            f"the first in episode {failed[0][0]}: {failed[0][1].error}"
        )
    return episodes


@dataclass
class _Player:
    """An episode under way."""

    environment: TextEnv
    episode: Episode
    seeds: random.Random  # one number a turn
    conversation: list[int] = field(default_factory=list)  # all tokens so far, if turns continue one another
    context: list[int] = field(default_factory=list)  # of the open turn
    admissible: Container[str] = ()  # the environment's own object: what it admits may be a rule, not a list


class _Loop:
    """All episodes; `alive` are those that have an open request, or an environment that is `running` a step."""

    def __init__(
        self,
        policy: Policy,
        session: Session,
        environments: Sequence[TextEnv],
        prompt: Prompt,
        seeds: Sequence[int],
        max_steps: int,
        max_length: int,
        max_action_tokens: int,
    ) -> None:
        self.chat = policy.chat
        self.session = session
        self.prompt = prompt
        self.max_steps, self.max_length, self.max_action_tokens = max_steps, max_length, max_action_tokens
        self.players = [
            _Player(environment, Episode([], conversation=prompt.conversation), random.Random(seed))
            for environment, seed in zip(environments, seeds, strict=True)
        ]
        self.next = 0  # the first environment that has not begun
        self.alive: set[int] = set()
        self.requests: list[Request] = []
        self.running: dict[futures.Future[Any], tuple[int, str | None]] = {}  # rows, and actions; None: a reset

    def admit(self, rows: int) -> None:
        """Begins episodes until `rows` are alive or none is left, and hands all open requests over."""
        while len(self.alive) < rows and self.next < len(self.players):
            row, player = self.next, self.players[self.next]
            self.next += 1
            self.alive.add(row)
            start = getattr(player.environment, "start_reset", None)
            if start is not None:
                self.running[start()] = (row, None)
            else:
                self._begin(row, player.environment.reset)
        self.session.submit(self.requests)
        self.requests = []

    def advance(self, responses: Sequence[Response]) -> Iterator[int]:
        """Takes answers to their environments; gives the rows whose turn is over, the others' are running."""
        for response in responses:
            row, player = response.row, self.players[response.row]
            action = self._act(player, response)
            start = getattr(player.environment, "start_step", None)
            if start is not None and player.episode.stop_reason is None:
                self.running[start(action)] = (row, action)
                continue
            self._end_turn(row, action, partial(player.environment.step, action))
            yield row

    def gather(self) -> Iterator[int]:
        """Takes what running environments have given, and waits for one if nothing else is to be done.

        Gives the rows whose turn is over.
        """
        if self.running:
            timeout = None if len(self.running) == len(self.alive) else 0
            futures.wait(self.running, timeout, return_when=futures.FIRST_COMPLETED)
        for future in [future for future in self.running if future.done()]:
            row, action = self.running.pop(future)
            if action is None:
                self._begin(row, future.result)
            else:
                self._end_turn(row, action, future.result)
                yield row

    def _begin(self, row: int, reset: Callable[[], object]) -> None:
        """Takes the first observation, and asks for the first turn or ends the episode."""
        episode = self.players[row].episode
        try:
            episode.observations.append(_text(reset()))
        except Exception as error:  # any failure of an environment is that episode's end, not the batch's
            _fail(episode, error)
        if episode.stop_reason is None:
            self._ask(row)
        if episode.stop_reason is not None:
            self.alive.discard(row)

    def _end_turn(self, row: int, action: str, step: Callable[[], Any]) -> None:
        """Takes a step's result, and asks for the next turn or ends the episode."""
        episode = self.players[row].episode
        if episode.stop_reason is None:
            self._step(episode, action, step)
        if episode.stop_reason is None:
            self._ask(row)
        if episode.stop_reason is not None:
            self.alive.discard(row)
            self.session.release(row)

    def _ask(self, row: int) -> None:
        """Queues the request for the next turn, unless its context is full."""
        player, chat = self.players[row], self.chat
        episode = player.episode
        try:
            admissible = player.environment.admissible
            shown = list(admissible)
            anchor = getattr(player.environment, "anchor", None)
        except Exception as error:  # as above
            _fail(episode, error)
            return
        player.admissible = admissible
        player.context = self.prompt.context(chat, episode.observations, episode.actions, shown)
        if self.prompt.conversation and episode.turns and episode.turns[-1].response_ids[-1:] != [chat.end_id]:
            player.context = [chat.end_id, *player.context]  # the response was cut before its end token
        prompt_ids = [*player.conversation, *player.context]
        if len(prompt_ids) + self.max_action_tokens + 1 > self.max_length:
            episode.stop_reason = StopReason.CONTEXT_FULL
            return
        episode.anchors.append(episode.observations[-1] if anchor is None else anchor)
        self.requests.append(Request(row, prompt_ids, player.seeds.getrandbits(63)))

    def _act(self, player: _Player, response: Response) -> str:
        """Writes an answer down; returns its action, the empty one if it has none."""
        episode, chat = player.episode, self.chat
        words = response.token_ids[:-1] if response.ended else response.token_ids
        action = self.prompt.action(str(chat.tokenizer.decode(words, skip_special_tokens=True)))
        try:
            admissible = action is not None and action in player.admissible
        except Exception as error:  # as above
            admissible = False
            _fail(episode, error)
        episode.turns.append(Turn(player.context, response.token_ids, response.logprobs, admissible))
        episode.tokens_generated += len(response.token_ids)
        episode.unended_actions += not response.ended
        episode.parse_errors += action is None
        if self.prompt.conversation:
            player.conversation += player.context
            player.conversation += response.token_ids
        if episode.stop_reason is None and action is None and self.prompt.parse_error_ends:
            episode.invalid_actions += 1
            episode.stop_reason = StopReason.PARSE_ERROR
        return action or ""

    def _step(self, episode: Episode, action: str, take: Callable[[], Any]) -> None:
        try:
            step = take()
            observation, reward, won, done = _text(step.observation), float(step.reward), step.won, step.done
        except Exception as error:  # as above
            _fail(episode, error)
            return
        episode.actions.append(action)
        episode.rewards.append(reward)
        episode.observations.append(observation)
        episode.invalid_actions += not episode.turns[-1].admissible
        if won:
            episode.stop_reason = StopReason.WON
        elif done:
            episode.stop_reason = StopReason.LOST
        elif episode.steps >= self.max_steps:
            episode.stop_reason = StopReason.STEP_LIMIT


def _text(observation: object) -> str:
    if not isinstance(observation, str):
        raise TypeError(f"an observation is text, and this is {type(observation).__name__}")
    return observation


def _fail(episode: Episode, error: Exception) -> None:
    episode.stop_reason = StopReason.ENVIRONMENT_ERROR
    episode.error = f"{type(error).__name__}: {error}"
