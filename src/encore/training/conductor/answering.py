"""A step's answers: drawn by the policy as it is, scored as far as it goes without the loss's forward pass, and dealt.

Each process answers its own prompts and computes the device batches that are dealt to it, see `several`. Where
accelerate shards the policy, a whole copy of it plays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from encore.rollout.policy import Response
from encore.training.agents.engines import WholeCopy
from encore.training.conductor import responses, several
from encore.training.conductor.prompts import Prompt, columns_of

if TYPE_CHECKING:
    from encore.training.conductor.trainer import MultiRewardTrainer


@dataclass(frozen=True)
class Answered:
    """A device batch of whole groups: what reward functions see, and what they gave before the forward pass."""

    prompts: list[Prompt]
    completions: list[str]
    columns: dict[str, list[Any]]
    lengths: list[int]
    raw: Float[Tensor, "batch K"]
    kinds: list[str]
    """Of the prompts of all processes' rows of this device step."""


class Answering:
    """What `trainer` learns from in a step.

    Args:
        copy: of a sharded policy, to play with; None: the policy itself plays.
    """

    def __init__(self, trainer: MultiRewardTrainer, copy: WholeCopy | None) -> None:
        self.trainer, self.copy = trainer, copy
        self.rl, self.chat, self.prompts = trainer.rl, trainer.chat, trainer.prompts
        self.rewards, self.accelerator = trainer.rewards, trainer.accelerator
        self.processes = self.accelerator.num_processes
        self.device_steps = self.rl.accumulation(self.processes)
        if copy is not None:
            copy.place(trainer)
            copy.model.to("cpu")

    def batches(self, places: list[int]) -> list[dict[str, Any]]:
        """Answers this process's prompts of the step, by their `places`; returns its device batches.

        A batch has the tensors of `responses.tensors`, `num_items_in_batch` (the step's response tokens that count, of
        all processes) and `answered`.
        """
        size = self.rl.group_size
        for start in range(0, len(places), size):
            if len(places) * self.processes != self.rl.responses or len(set(places[start : start + size])) != 1:
                raise AssertionError(f"a step's prompts come as {places}: groups of {size} are not complete")
        ids = [self.chat.first(self.prompts[place].text) for place in places]
        with self.trainer.progress.phase("rollout"):
            answers = self._sample(ids)
        every = several.shared(self.accelerator, list(zip(places, ids, answers, strict=True)))
        lengths = [len(prompt) + len(answer.token_ids) for _, prompt, answer in every]
        dealt = several.dealt(lengths, size, self.device_steps, self.processes)
        own = sorted(row for of_step in dealt for row in of_step[self.accelerator.process_index])
        at = {row: place for place, row in enumerate(own)}
        prompts = [self.prompts[every[row][0]] for row in own]
        ids, answers = [every[row][1] for row in own], [every[row][2] for row in own]
        with self.trainer.progress.phase("reward"):
            completions, columns = self._columns(prompts, answers)
            names = [name for name in self.rewards.names if name not in self.rewards.deferred]
            texts = [prompt.text for prompt in prompts]
            raw = self.rewards.score(names, texts, completions, columns, self.trainer.extra())
        self._count([prompt for _, prompt, _ in every], [answer for _, _, answer in every])
        total = self._tokens(answers, raw)
        batches = []
        for of_step in dealt:
            rows = [at[row] for row in of_step[self.accelerator.process_index]]
            batch: dict[str, Any] = dict(
                responses.tensors(
                    [ids[row] for row in rows],
                    [answers[row].token_ids for row in rows],
                    self.chat.tokenizer.pad_token_id,
                    self.accelerator.device,
                )
            )
            batch["num_items_in_batch"] = total
            batch["answered"] = Answered(
                [prompts[row] for row in rows],
                [completions[row] for row in rows],
                {name: [values[row] for row in rows] for name, values in columns.items()},
                [len(answers[row].token_ids) for row in rows],
                raw[rows],
                [self.prompts[every[row][0]].kind for of_process in of_step for row in of_process],
            )
            batches.append(batch)
        return batches

    def _sample(self, ids: list[list[int]]) -> list[Response]:
        first, step = self.accelerator.process_index * len(ids), self.trainer.state.global_step
        seeds = [responses.response_seed(self.trainer.rollout_seed, step, first + row) for row in range(len(ids))]
        lengths = {"max_response_tokens": self.rl.max_response_tokens, "rows": self.rl.rollout_batch}
        if self.copy is not None:
            with self._copy_that_plays(self.copy) as model:
                return responses.answer(model, self.chat, ids, seeds, temperature=self.rl.temperature, **lengths)
        model = self.accelerator.unwrap_model(self.trainer.model)
        was_training = model.training
        model.eval()
        try:
            with self.accelerator.autocast():
                return responses.answer(model, self.chat, ids, seeds, temperature=self.rl.temperature, **lengths)
        finally:
            model.train(was_training)

    @contextmanager
    def _copy_that_plays(self, copy: WholeCopy) -> Iterator[PreTrainedModel]:
        """`copy` with the newest weights; a GPU holds either it or the reference, which has no part in answering."""
        reference = self.trainer.reference
        if reference is not None:
            reference.place(torch.device("cpu"))
        copy.model.to(self.accelerator.device)
        with copy.ready():
            yield copy.model
        copy.model.to("cpu")
        if reference is not None:
            reference.place(self.accelerator.device)

    def _columns(self, prompts: list[Prompt], answers: list[Response]) -> tuple[list[str], dict[str, list[Any]]]:
        own = [answer.token_ids[:-1] if answer.ended else answer.token_ids for answer in answers]
        completions = [str(self.chat.tokenizer.decode(ids, skip_special_tokens=True)) for ids in own]
        columns = {**columns_of(prompts), "completion_ids": own, "ended": [answer.ended for answer in answers]}
        return completions, columns

    def _count(self, ids: list[list[int]], answers: list[Response]) -> None:
        generated = sum(len(answer.token_ids) for answer in answers)
        metrics = self.trainer._metrics["train"]
        metrics["rollout/response_tokens"].append(generated / len(answers))
        metrics["rollout/ended_share"].append(sum(answer.ended for answer in answers) / len(answers))
        self.trainer.progress.count(tokens_trained=generated + sum(map(len, ids)), tokens_generated=generated)

    def _tokens(self, answers: list[Response], raw: Float[Tensor, "batch K"]) -> Tensor:
        """Of all processes' responses, without those to drop as far as rewards without a forward pass tell."""
        known = [place for place, name in enumerate(self.rewards.names) if name not in self.rewards.deferred]
        scorable = torch.isfinite(raw[:, known]).all(dim=1).tolist()
        tokens = sum(len(answer.token_ids) for answer, counts in zip(answers, scorable, strict=True) if counts)
        total = torch.tensor(float(tokens), device=self.accelerator.device)
        found: Tensor = self.accelerator.reduce(total, reduction="sum")
        return found
