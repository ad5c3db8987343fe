"""TRL's GRPOTrainer on whole episodes: what is ours is where its batches come from.

Kept from TRL: the sampler that repeats tasks and deals them to processes, the loss (clipped ratio, KL, masks),
accumulation, checkpoints, distribution. Replaced: `_prepare_inputs`, private by name (tests hold it in place), which in
TRL generates and scores completions; here it plays episodes, turns them into rows with an advantage for each token, and
deals the rows to device steps by length. `num_items_in_batch`, by which the
`dapo` loss divides, holds the response tokens of all processes, so that the gradient depends neither on how rows are
dealt nor on the number of processes.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.models import prepare_fsdp
from trl.trainer.utils import add_fused_lm_head

from encore import rollout
from encore.chat import ChatFormat
from encore.environments import TextEnv
from encore.errors import UserError
from encore.rollout import Episode
from encore.training.agents import batches, engines, gigpo, grpo, hpt
from encore.training.agents.settings import AgentRLSettings
from encore.training.grpo_arguments import grpo_arguments
from encore.training.whole import refuse_sharded_adapter, trains_on_gpu, will_shard
from encore.trajectories import Example

ALGORITHMS: dict[str, Callable[..., list[list[Tensor]]]] = {
    "grpo": grpo.advantages,
    "gigpo": gigpo.advantages,
    "hpt": grpo.advantages,  # of the tasks that it explores
}
Return = Callable[[Episode], float]


class Progress(Protocol):
    """Where curves and costs go and what a saved checkpoint commits (`encore.tracking.Run` is one)."""

    @property
    def checkpoint(self) -> str | None: ...
    def curve(self, values: dict[str, float], step: int) -> None: ...
    def commit(self, checkpoint: str | None = None) -> None: ...
    def phase(self, name: str) -> AbstractContextManager[None]: ...
    def count(
        self, *, tokens_trained: float = 0, tokens_generated: float = 0, environment_steps: float = 0, flops: float = 0
    ) -> None: ...


class Silent:
    """A Progress that keeps nothing: for processes other than the first."""

    checkpoint: str | None = None

    def curve(self, values: dict[str, float], step: int) -> None:
        pass

    def commit(self, checkpoint: str | None = None) -> None:
        pass

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        yield

    def count(self, **_: float) -> None:
        pass


class AgentTrainer(GRPOTrainer):
    """GRPO, GiGPO or HPT on episodes of text environments.

    Args:
        environment: makes the environment of a task, by its place in the list of tasks.
        order: places of tasks in the order in which they are played, `tasks_per_iteration` an iteration.
        outcome: an episode's return before penalties; None: the sum of its rewards.
        demonstrations: of each task, in the order of the list of tasks; HPT alone needs them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        chat: ChatFormat,
        environment: Callable[[int], TextEnv],
        order: Sequence[int],
        settings: AgentRLSettings,
        *,
        max_steps: int,
        max_length: int,
        seed: int,
        checkpoints: Path,
        progress: Progress,
        prompt: Any = None,
        outcome: Return | None = None,
        demonstrations: Sequence[Example] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        if settings.algorithm not in ALGORITHMS:
            raise UserError(f"rl.algorithm is '{settings.algorithm}': choose from {', '.join(ALGORITHMS)}")
        if settings.algorithm == "hpt" and demonstrations is None:
            raise UserError("rl.algorithm is 'hpt', which imitates: pass a demonstration of each task")
        self.demonstrations = [hpt.demonstration_row(example) for example in demonstrations or []]
        self.rl = settings
        self.chat = chat
        self.environment = environment
        self.max_steps, self.max_length = max_steps, max_length
        self.prompt = prompt
        self.rollout_seed = seed
        self.progress = progress
        self.outcome: Return = outcome or (lambda episode: float(sum(episode.rewards)))
        # The start is copied before TRL changes its forward; an adapter is switched off instead.
        reference = copy.deepcopy(model) if settings.kl and not settings.lora_rank else None
        engines.check(settings, trains_on_gpu(model))
        whole_copy = engines.WholeCopy(model, chat) if settings.rollout == "transformers" and will_shard() else None
        config = _config(settings, model, seed, checkpoints, max_length)
        super().__init__(
            model=model,
            reward_funcs=[_unused_reward],
            args=config,
            train_dataset=Dataset.from_dict({"prompt": [""] * len(order), "task": list(order)}),
            processing_class=chat.tokenizer,
            peft_config=_lora(settings),
            callbacks=list(callbacks),
        )
        refuse_sharded_adapter(self.accelerator, settings.lora_rank)
        self.beta = settings.kl
        if reference is not None:
            add_fused_lm_head(reference, temperature=self.temperature)
            if self.is_fsdp_enabled:
                # TRL types it by FSDP's classes; sharded, it is still the model.
                self.ref_model = prepare_fsdp(reference.eval().requires_grad_(False), self.accelerator)  # type: ignore[assignment]
            else:
                self.ref_model = self.accelerator.prepare_model(reference.eval(), evaluation_mode=True)
        self.engine: engines.Engine = engines.InPlace(self, chat)
        if whole_copy is not None:
            whole_copy.place(self)
            self.engine = whole_copy
        elif settings.rollout != "transformers":
            self.engine = engines.VLLM(self, chat, settings)
        self._device_steps = int(config.steps_per_generation or 0)
        played = config.generation_batch_size
        updates = self._device_steps // config.gradient_accumulation_steps
        if played != settings.episodes or updates != settings.updates:
            raise AssertionError(
                f"an iteration would play {played} episodes for {updates} updates, not the {settings.episodes} for "
                f"{settings.updates} that were asked for"
            )
        self.model_accepts_loss_kwargs = False
        self._local: list[dict[str, Tensor]] = []

    @property
    def iteration(self) -> int:
        """Number of the iteration being played or learned from, from 0."""
        return self.state.global_step // self.rl.updates

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        inputs = self._prepare_inputs(inputs)  # plays, at the start of an iteration: its own phase of the costs
        with self.progress.phase("update"):
            loss = super().training_step(model, inputs, *args, **kwargs)
        if not bool(torch.isfinite(loss)):
            raise UserError(f"the loss is {float(loss)} in iteration {self.iteration}: lower rl.learning_rate")
        return loss

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Tensor]:
        if isinstance(generation_batch, dict):  # prepared already
            return generation_batch
        place = self._step % self._device_steps
        if place == 0 or not self._local:
            self._local = self._iterate([int(row["task"]) for row in generation_batch])
        return self._local[place]

    def _iterate(self, tasks: list[int]) -> list[dict[str, Tensor]]:
        """Plays this process's episodes and returns its device steps for the iteration."""
        with self.progress.phase("rollout"):
            episodes = self._play(tasks)
        size = self.rl.group_size
        groups = [episodes[start : start + size] for start in range(0, len(episodes), size)]
        returns = [torch.tensor([self._return(episode) for episode in group]) for group in groups]
        values = ALGORITHMS[self.rl.algorithm](groups, returns, self.rl)
        imitated = hpt.imitated(groups, self.rl)
        rows = [
            [] if imitates else batches.rows_of(episode, value)
            for group, of_group, imitates in zip(groups, values, imitated, strict=True)
            for episode, value in zip(group, of_group, strict=True)
        ]
        if self.rl.normalization == "episode":
            rows = batches.averaged_by_episode(rows, self._mean_tokens(rows))
        self._log_episodes(episodes, returns)
        if self.rl.algorithm == "hpt":
            share = torch.tensor(sum(imitated) / len(imitated), device=self.accelerator.device)
            self._metrics["train"]["rollout/sft_share"].append(float(self.accelerator.reduce(share, reduction="mean")))
        steps = []
        for update in range(self.rl.updates):
            own = self._update(rows, update)
            if self.rl.algorithm == "hpt":
                places = range(update, len(groups), self.rl.updates)
                self._imitate(own, [tasks[place * size] for place in places if imitated[place]], len(places))
            steps += own
        return steps

    def _play(self, tasks: list[int]) -> list[Episode]:
        first = self.accelerator.process_index * len(tasks)
        with self.engine.ready() as policy:
            return rollout.collect(
                policy,
                [self.environment(task) for task in tasks],
                prompt=self.prompt,
                max_action_tokens=self.rl.max_action_tokens,
                temperature=self.rl.temperature,
                seeds=[episode_seed(self.rollout_seed, self.iteration, first + row) for row in range(len(tasks))],
                batch_size=self.rl.rollout_batch,
                max_error_share=self.rl.max_error_share,
                max_steps=self.max_steps,
                max_length=self.max_length,
            )

    def _mean_tokens(self, rows: list[list[batches.Row]]) -> float | None:
        """Of all processes' episodes, see `batches.averaged_by_episode`; None if this is the only process."""
        if self.accelerator.num_processes == 1:
            return None
        counts = batches.episode_tokens(rows)
        own = torch.tensor([float(sum(counts)), sum(count > 0 for count in counts)], device=self.accelerator.device)
        tokens, episodes = self.accelerator.reduce(own, reduction="sum").tolist()
        return float(tokens / max(1.0, episodes))

    def _return(self, episode: Episode) -> float:
        return self.outcome(episode) - self.rl.invalid_penalty * episode.invalid_actions

    def _update(self, rows: list[list[batches.Row]], update: int) -> list[dict[str, Tensor]]:
        """The device steps of one optimizer step: those of every `updates`-th task."""
        size = self.rl.group_size
        chosen = [
            row
            for place, of_episode in enumerate(rows)
            if place // size % self.rl.updates == update
            for row in of_episode
        ]
        # Rows left out keep their place in the mean: leaving them out changes no gradient when there is no KL.
        total = torch.tensor(float(sum(row.response_tokens for row in chosen)), device=self.accelerator.device)
        total = self.accelerator.reduce(total, reduction="sum") * self.rl.updates
        kept = [row for row in chosen if row.moves] if self.rl.skip_constant_groups else chosen
        steps = []
        dealt = batches.micro_batches(kept, self.args.gradient_accumulation_steps)
        for members, rows_of_any in zip(dealt, self._most_rows(dealt), strict=True):
            batch = batches.tensors(members, self.chat.tokenizer.pad_token_id, self.accelerator.device, rows_of_any)
            batch["num_items_in_batch"] = total
            if self.use_vllm and self.vllm_importance_sampling_correction:
                self._correct(batch)
            if self.rl.updates == 1:  # the sampling policy is the policy: its ratio is exactly 1
                del batch["old_per_token_logps"]
            if self.beta:
                batch["ref_per_token_logps"] = self._reference(batch)
            steps.append(batch)
        self.progress.count(tokens_trained=sum(map(len, kept)))
        return steps

    def _imitate(self, steps: list[dict[str, Any]], tasks: list[int], number: int) -> None:
        """Adds to the device steps of one update what HPT imitates: `tasks`, of the update's `number` of tasks here."""
        rows = [self.demonstrations[task] for task in tasks]
        counts = [len(rows), sum(row.response_tokens for row in rows), number]
        total = torch.tensor(counts, dtype=torch.float32, device=self.accelerator.device)
        imitated, tokens, of_update = self.accelerator.reduce(total, reduction="sum")
        if int(of_update) != self.rl.tasks_per_iteration // self.rl.updates:
            raise AssertionError(
                f"an update would learn from {int(of_update)} tasks, not the "
                f"{self.rl.tasks_per_iteration // self.rl.updates} that were asked for"
            )
        share = float(imitated / of_update)
        dealt = batches.micro_batches(rows, len(steps))
        for step, members, rows_of_any in zip(steps, dealt, self._most_rows(dealt), strict=True):
            step["imitation"] = {
                "rl_weight": self.rl.alpha * (1 - share),
                "sft_weight": self.rl.beta * share,
                "tokens": tokens,
                # None on all processes or on none, because each forward is one of all of them.
                "rows": batches.tensors(members, self.chat.tokenizer.pad_token_id, self.accelerator.device, rows_of_any)
                if share
                else None,
            }
        self.progress.count(tokens_trained=sum(map(len, rows)))

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss: Tensor = super()._compute_loss(model, inputs)
        if "imitation" in inputs:
            loss = hpt.mixed_loss(loss, model, inputs, self.accelerator.num_processes)
        return loss

    def _most_rows(self, dealt: list[list[batches.Row]]) -> list[int]:
        """Of each device step, the rows of the process that has most: TRL gathers one number a row for its metrics."""
        rows = torch.tensor([max(1, len(members)) for members in dealt], device=self.accelerator.device)
        return self.accelerator.gather(rows).view(-1, len(dealt)).amax(dim=0).tolist()

    @torch.no_grad()
    def _reference(self, batch: dict[str, Tensor]) -> Tensor:
        model = self.accelerator.unwrap_model(self.model)
        off = model.disable_adapter() if self.rl.lora_rank else contextlib.nullcontext()
        with off:
            return self._logprobs(self.ref_model if self.ref_model is not None else self.model, batch)

    @torch.no_grad()
    def _correct(self, batch: dict[str, Tensor]) -> None:
        """Puts the trainer's log-probabilities in the engine's place, and the ratio of both, cut, for TRL's loss."""
        ours, responses = self._logprobs(self.model, batch), batch["tool_mask"] * batch["completion_mask"]
        difference = (ours - batch["old_per_token_logps"]) * responses
        batch["old_per_token_logps"] = ours
        batch["importance_sampling_ratio"] = difference.exp().clamp(max=self.rl.vllm.correction_cap)
        gap = torch.stack([difference.abs().sum(), responses.sum()])
        total, tokens = self.accelerator.reduce(gap, reduction="sum").tolist()
        self._metrics["train"]["rollout/engine_gap"].append(total / max(1.0, tokens))  # nats a token

    def _logprobs(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        logprobs: Tensor = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            batch["completion_ids"].shape[1],
        )[0]
        return logprobs

    def _log_episodes(self, episodes: Sequence[Episode], returns: Sequence[Tensor]) -> None:
        """Metrics of all processes' episodes, as means for TRL's log of this iteration."""
        metrics = rollout.metrics(episodes)
        values = torch.cat(list(returns))
        metrics["return_penalized"] = float(values.mean())
        constant = [float(group.max() - group.min()) < grpo.TIE for group in returns]
        metrics["constant_groups"] = sum(constant) / len(constant)
        logprobs = [value for episode in episodes for turn in episode.turns for value in turn.logprobs]
        metrics["entropy"] = -sum(logprobs) / max(1, len(logprobs))
        names = sorted({*metrics, *[f"stop/{reason}" for reason in rollout.StopReason]})
        local = torch.tensor([metrics.get(name, 0.0) for name in names], device=self.accelerator.device)
        mean = self.accelerator.reduce(local, reduction="mean").tolist()
        for name, value in zip(names, mean, strict=True):
            self._metrics["train"][f"rollout/{name}"].append(value)
        self.progress.count(
            tokens_generated=sum(episode.tokens_generated for episode in episodes),
            environment_steps=sum(episode.steps for episode in episodes),
        )


def episode_seed(seed: int, iteration: int, place: int) -> int:
    """Seed of the episode at `place` among all processes' episodes of an iteration: the same however many processes."""
    digest = hashlib.blake2b(f"{seed} {iteration} {place}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")


def _unused_reward(**_: Any) -> list[float | None]:
    """TRL wants a reward function; ours come with the episodes."""
    raise AssertionError("TRL asked for rewards of completions: _prepare_inputs no longer replaces its generation")


def _config(
    settings: AgentRLSettings, model: PreTrainedModel, seed: int, checkpoints: Path, max_length: int
) -> GRPOConfig:
    import os

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    accumulation = settings.accumulation(processes)
    steps = accumulation * settings.updates
    return GRPOConfig(
        **grpo_arguments(settings, model, seed, checkpoints, settings.updates),
        **engines.arguments(settings, max_length),
        per_device_train_batch_size=settings.episodes // (processes * steps),
        gradient_accumulation_steps=accumulation,
        steps_per_generation=steps,
        max_steps=settings.iterations * settings.updates,
        epsilon=settings.clip_low,
        epsilon_high=settings.clip_high,
        loss_type="dapo",
    )


def _lora(settings: AgentRLSettings) -> Any:
    if not settings.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
