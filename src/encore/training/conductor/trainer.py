"""TRL's GRPOTrainer with several rewards, weighed for each response by what the policy's hidden state says.

Kept from TRL: the sampler, the loss (masks, KL), accumulation, checkpoints. Replaced, private by name (tests hold them
in place):

- `_prepare_inputs`: answers come from `answering`, with a seed for each, and whole groups stay in one device batch (TRL
  shuffles them apart).
- `_get_per_token_logps_and_entropies`: the weights need the hidden states of the finished responses, and the advantages
  need the weights. TRL makes one forward pass of the policy over the responses, that of the loss itself (with one
  update for each set of rollouts it needs no earlier one for the ratio), and its `_compute_loss` reads
  `inputs["advantages"]` only after that pass. So the advantages are put there between the two: hidden states are read
  off the pass by a hook, then weights, scores, advantages, loss. There is no second forward pass, and h belongs to
  exactly the policy that answered. It takes complete groups in each device batch, which is asserted.

Rewards that want the policy's entropies or log-probabilities take them from the same pass.

Several processes (`accelerate launch`) share a step's prompts, see `several`; where accelerate shards the policy, each
plays with a whole copy of it and holds a whole reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback
from trl import GRPOTrainer

from encore import ranks
from encore.chat import ChatFormat
from encore.errors import UserError
from encore.scalarization import Batch, Context, Scalarizer, group_advantages, normalized, scores
from encore.training.agents.engines import WholeCopy
from encore.training.agents.trainer import Progress
from encore.training.conductor import companions, several
from encore.training.conductor.answering import Answered, Answering
from encore.training.conductor.configuring import normalization, trl_config
from encore.training.conductor.curves import WeightHistory, reward_curves
from encore.training.conductor.hidden import HiddenStates
from encore.training.conductor.prompts import Prompt
from encore.training.conductor.reference import Reference
from encore.training.conductor.scoring import RewardFunction, Rewards
from encore.training.conductor.settings import MultiRewardSettings
from encore.training.whole import will_shard


class MultiRewardTrainer(GRPOTrainer):
    """GRPO on one answer a prompt, with a scalarizer between rewards and advantages.

    Args:
        order: places of prompts in the order in which they are answered, `prompts_per_step` a step.
        rewards: by name.
        scalarizer: not started yet; `parameters` are its own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        chat: ChatFormat,
        prompts: Sequence[Prompt],
        order: Sequence[int],
        rewards: Mapping[str, RewardFunction],
        scalarizer: Scalarizer,
        settings: MultiRewardSettings,
        *,
        parameters: Mapping[str, Any],
        seed: int,
        checkpoints: Path,
        progress: Progress,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.rl, self.chat, self.prompts, self.progress = settings, chat, prompts, progress
        self.rollout_seed = seed
        self.rewards = Rewards(rewards, settings.bad_rewards, settings.group_size)
        self.normalization = normalization(settings, self.rewards.names)
        self.scalarizer = scalarizer
        hidden_size = model.config.get_text_config().hidden_size
        device = ranks.join().device if ranks.processes() > 1 else model.device  # to be sharded, it is on the CPU
        scalarizer.start(Context(self.rewards.names, hidden_size, seed, parameters, device))
        if scalarizer.trained_with_policy() and settings.loss_normalization == "response":
            raise UserError(
                f"scalarizer {scalarizer.name} learns from the policy's loss, which has no gradient in it under "
                "rl.loss_normalization response (a group's advantages sum to 0): set it to token"
            )
        self.history = WeightHistory(self.rewards.names)
        self.reference = (
            Reference(model, settings.reference_every, settings.reference_share, settings.temperature)
            if settings.kl or self.rewards.with_reference
            else None
        )
        if self.reference is not None and will_shard():
            self.reference.place(device)
        copy = WholeCopy(model, chat) if will_shard() else None
        super().__init__(
            model=model,
            reward_funcs=[_unused_reward],
            args=trl_config(settings, model, seed, checkpoints),
            train_dataset=Dataset.from_dict({"prompt": [""] * len(order), "place": list(order)}),
            processing_class=chat.tokenizer,
            callbacks=[companions.AfterStep(self), *callbacks],
        )
        self.answering = Answering(self, copy)
        joint = self.accelerator.num_processes > 1 and scalarizer.trained_with_policy()
        self.joint = several.JointOptimizer(scalarizer, self.args) if joint else None
        self.beta = settings.kl  # after the start: TRL would load its reference from a path, ours is a copy
        self.hidden = HiddenStates(model, settings.layer, settings.pooling) if scalarizer.needs_hidden else None
        self.model_accepts_loss_kwargs = False
        self._local: list[dict[str, Any]] = []
        self._raw: list[Tensor] = []
        self._pending: dict[str, Any] | None = None

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        inputs = self._prepare_inputs(inputs)  # answers and rewards, at the start of a step: their own phases
        with self.progress.phase("update"):
            loss = super().training_step(model, inputs, *args, **kwargs)
        if not bool(torch.isfinite(loss)):
            raise UserError(f"the loss is {float(loss)} in step {self.state.global_step}: lower rl.learning_rate")
        return loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(model)
        joint = self.scalarizer.trained_with_policy()
        if fresh and joint and self.joint is None:
            optimizer.add_param_group({"params": joint, "lr": self.scalarizer.learning_rate, "weight_decay": 0.0})
        return optimizer

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        if isinstance(generation_batch, dict):  # prepared already
            return generation_batch
        place = self._step % self.answering.device_steps
        if place == 0 or not self._local:
            self._local = self._answer([int(row["place"]) for row in generation_batch])
        return self._local[place]

    def _answer(self, places: list[int]) -> list[dict[str, Any]]:
        """Answers this process's prompts of the step and returns its device batches."""
        batches = self.answering.batches(places)
        if self.beta:
            for batch in batches:
                batch["ref_per_token_logps"] = self._reference_logprobs(batch)
        return batches

    def extra(self) -> dict[str, Any]:
        """What reward functions may ask for beside prompts, completions and columns."""
        return {} if self.reference is None else {"reference": self.reference.model}

    @torch.no_grad()
    def _reference_logprobs(self, batch: dict[str, Tensor]) -> Tensor:
        assert self.reference is not None
        logprobs, _, _ = self._get_per_token_logps_and_entropies(
            self.reference.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            batch["completion_ids"].shape[1],
        )
        return logprobs

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._pending = dict(inputs)
        try:
            return super()._compute_loss(model, self._pending)
        finally:
            self._pending = None

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        given = (model, input_ids, attention_mask, logits_to_keep)
        if self._pending is None:
            return super()._get_per_token_logps_and_entropies(*given, *args, **kwargs)
        hidden = None
        if self.hidden is None:
            result = super()._get_per_token_logps_and_entropies(*given, *args, **kwargs)
        else:
            with self.hidden.read(attention_mask) as found:
                result = super()._get_per_token_logps_and_entropies(*given, *args, **kwargs)
            if len(found) != 1 or len(found[0]) != len(input_ids):
                raise AssertionError(f"{len(found)} forward passes over a device batch, where one was expected")
            hidden = found[0]
        self._pending["advantages"] = self._advantages(self._pending, hidden, result[0].detach(), result[1])
        return result

    def _advantages(
        self, inputs: dict[str, Any], hidden: Tensor | None, logprobs: Tensor, entropies: Tensor | None
    ) -> Float[Tensor, " batch"]:
        """Between forward pass and loss: rewards of the pass, weights, scores, advantages."""
        answered: Answered = inputs["answered"]
        size = self.rl.group_size
        raw = self._all_rewards(answered, logprobs, entropies)
        valid = torch.isfinite(raw).all(dim=1)
        if not bool(valid.all()):
            # TRL's loss holds this very tensor as its mask: a dropped response is in no sum, no mean and no divergence.
            inputs["completion_mask"][~valid] = 0
        raw = several.gathered(self.accelerator, raw)
        valid = torch.isfinite(raw).all(dim=1)
        if hidden is not None:
            hidden = several.gathered(self.accelerator, hidden)
        batch = Batch(raw, valid, answered.kinds, size, hidden)
        weighing = self.scalarizer.weigh(batch)
        device = logprobs.device
        values = normalized(raw, valid, size, self.normalization).to(device)
        advantages = group_advantages(
            scores(values, weighing.weights.to(device)), valid.to(device), size, self.rl.scale_advantages
        )
        self.scalarizer.observe(batch, weighing, advantages)
        self.history.add(batch.kinds, weighing.reading)
        self._raw.append(raw)
        return several.own_rows(self.accelerator, advantages)

    def _all_rewards(self, answered: Answered, logprobs: Tensor, entropies: Tensor | None) -> Float[Tensor, "batch K"]:
        if not self.rewards.deferred:
            return answered.raw
        assert entropies is not None  # TRL's loss asks for them
        of_rows = {
            name: [row[:length] for row, length in zip(values.detach().float().cpu(), answered.lengths, strict=True)]
            for name, values in (("log_probs", logprobs), ("entropies", entropies))
        }
        found = self.rewards.score(
            self.rewards.deferred,
            [prompt.text for prompt in answered.prompts],
            answered.completions,
            answered.columns,
            {**self.extra(), **of_rows},
        )
        late = torch.tensor([name in self.rewards.deferred for name in self.rewards.names])
        return torch.where(late, found, answered.raw)

    def after_step(self) -> None:
        """The scalarizer's own update, the reference, and the step's curves."""
        step = self.state.global_step
        curves = {f"conductor/{name}": value for name, value in self.scalarizer.step().items()}
        if self.reference is not None:
            self.reference.follow(self.accelerator.unwrap_model(self.model), step)
        curves |= self.history.finish(step) | reward_curves(self.rewards.names, self._raw, self.rl.group_size)
        self._raw = []
        for name, value in curves.items():
            self._metrics["train"][name].append(value)
        if curves["rollout/dropped_share"] == 1:
            raise UserError(f"all responses of step {step} were dropped: no reward function gives numbers")

    def restore(self, folder: Path) -> None:
        """Takes back what a checkpoint holds beside TRL's. Raises UserError if it is none of this kind of training."""
        companions.restore(self, folder)


def _unused_reward(**_: Any) -> list[float | None]:
    """TRL wants a reward function; ours are called with more than it gives."""
    raise AssertionError("TRL asked for rewards of completions: _prepare_inputs no longer replaces its generation")
