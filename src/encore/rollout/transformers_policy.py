"""The transformers backend: rows at different points of their episodes advance together, a token at a time.

Each step is one forward pass over the next token of all rows that are answering and the new prompt tokens of all rows
that wait to. A row that has ended its answer costs nothing until it is asked again, and is asked again at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from encore.chat import ChatFormat
from encore.errors import UserError
from encore.rollout import attention, memory
from encore.rollout.attention import Group, SlotCache, Step
from encore.rollout.policy import Request, Response
from encore.rollout.sampling import choose

STEP_TOKENS = 8192  # new tokens of one forward pass; what is more waits for the next
WORTH_COPYING = 16  # tokens of a common beginning from which on a new row copies another row's cache


@dataclass(frozen=True)
class TransformersPolicy:
    """A model in this process."""

    model: PreTrainedModel
    chat: ChatFormat

    @contextmanager
    def session(
        self, rows: int, *, max_length: int, max_action_tokens: int, temperature: float
    ) -> Iterator[SlotSession]:
        reason = attention.unsupported(self.model)
        if reason is not None:
            raise UserError(
                f"{reason}: this backend keeps keys and values by slot and would compute something else; choose "
                "another model or another backend"
            )
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and max_length > context:
            raise UserError(
                f"max_length is {max_length}, and the model was made for {context} tokens: lower policy.max_length"
            )
        with attention.installed(self.model):
            yield SlotSession(self.model, self.chat.end_id, rows, max_length, max_action_tokens, temperature)


@dataclass
class _Slot:
    """What a slot's cache holds, and the answer that its row is making."""

    held: list[int] = field(default_factory=list)  # tokens whose keys and values lie in the cache
    row: int | None = None
    fresh: bool = False  # its row has not computed anything yet
    prompt: list[int] = field(default_factory=list)
    draws: random.Random | None = None  # set while a request is open
    response: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def new(self) -> list[int]:
        """Tokens that the next step has to put in."""
        return self.response[-1:] if self.response else self.prompt[len(self.held) :]


class SlotSession:
    """Implements `encore.rollout.policy.Session` over a `SlotCache`."""

    def __init__(
        self,
        model: PreTrainedModel,
        end_id: int,
        rows: int,
        max_length: int,
        max_action_tokens: int,
        temperature: float,
    ) -> None:
        self.model = model
        self.end_id = end_id
        self.max_length, self.max_action_tokens = max_length, max_action_tokens
        self.temperature = temperature
        self.cache = SlotCache(rows, max_length)
        self.slots = [_Slot() for _ in range(rows)]
        self.place: dict[int, int] = {}  # slot of each row

    def submit(self, requests: Iterable[Request]) -> None:
        for request in requests:
            if request.row not in self.place:
                self._admit(request.row)
            slot = self.slots[self.place[request.row]]
            slot.prompt, slot.draws = request.prompt_ids, random.Random(request.seed)
            slot.response, slot.logprobs = [], []
            # The last token is always computed: its logits are the answer's first.
            common = min(_common(slot.held, slot.prompt), len(slot.prompt) - 1)
            del slot.held[common:]

    def poll(self) -> list[Response]:
        answered: list[Response] = []
        while not answered and any(slot.draws is not None for slot in self.slots):
            try:
                answered = self._step()
                continue
            except (RuntimeError, MemoryError) as error:
                if not memory.exhausted(error):
                    raise
            # Out of the handler: the error's frames, and the tensors in them, are gone before memory is counted.
            raise memory.full(self.model, len(self.slots), self.max_length, self.cache.bytes)
        return answered

    def release(self, row: int) -> None:
        self.slots[self.place.pop(row)].row = None

    def _admit(self, row: int) -> None:
        number = next(number for number, slot in enumerate(self.slots) if slot.row is None)
        self.place[row] = number
        self.slots[number].row, self.slots[number].fresh = row, True

    @torch.inference_mode()
    def _step(self) -> list[Response]:
        self._close_ranks()
        decoding, appending = self._schedule()
        step, tokens, last = self._plan(decoding, appending)
        logits = self.model(
            input_ids=tokens[None],
            position_ids=step.positions[None],
            use_cache=False,
            logits_to_keep=last,
            rollout_step=step,
            rollout_cache=self.cache,
        ).logits[0]
        for number, count in [*((number, 1) for number in decoding), *appending]:
            slot = self.slots[number]
            slot.held += slot.new[:count]
        speaking = [number for number in [*decoding, *(number for number, _ in appending)] if self._speaks(number)]
        return self._answer(speaking, logits)

    def _speaks(self, number: int) -> bool:
        slot = self.slots[number]
        return len(slot.held) == len(slot.prompt) + len(slot.response)

    def _answer(self, speaking: list[int], logits: torch.Tensor) -> list[Response]:
        draws = [self.slots[number].draws for number in speaking]
        uniforms = [draw.random() for draw in draws if draw is not None] if self.temperature > 0 else []
        answered = []
        for number, token, logprob in zip(speaking, *choose(logits, self.temperature, uniforms), strict=True):
            slot = self.slots[number]
            slot.response.append(token)
            slot.logprobs.append(logprob)
            ended = token == self.end_id
            if ended or len(slot.response) == self.max_action_tokens:
                slot.draws = None
                assert slot.row is not None
                answered.append(Response(slot.row, slot.response, slot.logprobs, ended))
        return answered

    def _schedule(self) -> tuple[list[int], list[tuple[int, int]]]:
        """Slots that decode a token, and slots that append prompt tokens with how many of them."""
        decoding = [number for number, slot in enumerate(self.slots) if slot.draws is not None and slot.response]
        room = STEP_TOKENS - len(decoding)
        appending: list[tuple[int, int]] = []
        for number, slot in enumerate(self.slots):
            if slot.draws is None or slot.response:
                continue
            if room <= 0 and appending:
                break
            if slot.fresh and self._wait_or_copy(number, appending):
                continue
            slot.fresh = False
            count = min(len(slot.new), max(room, 1))
            appending.append((number, count))
            room -= count
        return decoding, appending

    def _wait_or_copy(self, number: int, appending: list[tuple[int, int]]) -> bool:
        """Copies what another slot holds of a new row's prompt; true: wait, a slot of this step has more of it."""
        slot = self.slots[number]
        best, source = max(
            (min(_common(other.held, slot.prompt), len(slot.prompt) - 1), place)
            for place, other in enumerate(self.slots)
        )
        coming = max((_common(self.slots[place].prompt, slot.prompt) for place, _ in appending), default=0)
        if coming > max(best, WORTH_COPYING, len(slot.prompt) // 2):
            return True
        if best >= len(slot.held) + WORTH_COPYING:
            self.cache.copy(source, number, best)
            slot.held = slot.prompt[:best]
        return False

    def _close_ranks(self) -> None:
        """Moves the last rows into free slots before them, so that rows stay neighbours and attention is one call."""
        if any(slot.fresh for slot in self.slots):
            return  # a free slot may hold the beginning that a new row is waiting for
        alive = [number for number, slot in enumerate(self.slots) if slot.row is not None]
        free = [number for number in range(len(alive)) if self.slots[number].row is None]
        for target, source in zip(free, reversed(alive), strict=False):
            self.cache.copy(source, target, len(self.slots[source].held))
            moved = self.slots[target] = self.slots[source]
            self.slots[source] = _Slot()
            assert moved.row is not None
            self.place[moved.row] = target

    def _plan(self, decoding: list[int], appending: list[tuple[int, int]]) -> tuple[Step, torch.Tensor, torch.Tensor]:
        """The step, its flat tokens, and the places of the tokens whose logits are needed."""
        tokens: list[int] = []
        slots: list[int] = []
        positions: list[int] = []
        groups: list[tuple[int, int, int, int]] = []  # first slot, rows, queries, first token
        last: list[int] = []
        asked, counts = set(decoding), dict(appending)
        runs = attention.decoding_runs(decoding, attention.MAX_RUNS) if decoding else []
        for start, stop in runs:
            groups.append((start, stop - start, 1, len(tokens)))
            for number in range(start, stop):
                slot = self.slots[number]
                if number in asked:
                    last.append(len(tokens))
                # A hole's token is written behind all that its slot holds, where a later token will overwrite it.
                tokens.append(slot.response[-1] if number in asked else self.end_id)
                slots.append(number)
                positions.append(len(slot.held) + counts.get(number, 0))
        for number, count in appending:
            slot = self.slots[number]
            groups.append((number, 1, count, len(tokens)))
            tokens += slot.new[:count]
            slots += [number] * count
            positions += range(len(slot.held), len(slot.held) + count)
            if len(slot.held) + count == len(slot.prompt):
                last.append(len(tokens) - 1)
        device = self.model.device
        flat = torch.tensor([tokens, slots, positions], device=device)
        step = Step(flat[1], flat[2], [], max(positions) + 1, self.model.dtype)
        for first, rows, queries, begin in groups:
            end = begin + rows * queries
            step.groups.append(
                Group(
                    slots=slice(first, first + rows),
                    tokens=slice(begin, end),
                    positions=flat[2, begin:end].view(rows, queries),
                    width=max(positions[begin:end]) + 1,
                    rows=rows,
                    queries=queries,
                )
            )
        return step, flat[0], torch.tensor(last, dtype=torch.long, device=device)


def _common(first: list[int], second: list[int]) -> int:
    """Length of the common beginning."""
    shorter = min(len(first), len(second))
    if first[:shorter] == second[:shorter]:
        return shorter
    return next(place for place in range(shorter) if first[place] != second[place])
