"""Supervised fine-tuning on response masks, by TRL's SFTTrainer.

The examples of a micro-batch are packed into one row without padding (`sft.packing`), or padded. Batches hold the same
examples either way, about equally long, so packing changes the speed and not what is learned. The effective batch
(examples an optimizer step, over accumulation and processes) is asserted, not assumed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from encore.errors import UserError
from encore.training.attention import attending_within_examples
from encore.training.batches import PaddedRows, balanced, training_order
from encore.training.forward import restore_forward
from encore.training.packing import PackedRows, check_packable, packed_losses
from encore.training.settings import SFTSettings
from encore.training.whole import refuse_sharded_adapter, trains_on_gpu, whole
from encore.trajectories import Example

COUNTS = "counts.json"  # beside each checkpoint


@dataclass(frozen=True)
class SFTResult:
    """What a fine-tuning did.

    `tokens` counts tokens that are no padding, `padding_share` padding in all computed; `final_loss` is the mean of
    the last ten steps.
    """

    steps: int
    examples: int
    tokens: int
    response_tokens: int
    padding_share: float
    final_loss: float


class Progress(Protocol):
    """Where curves go and what a saved checkpoint commits (`encore.tracking.Run` is one)."""

    @property
    def checkpoint(self) -> str | None: ...
    def curve(self, values: dict[str, float], step: int) -> None: ...
    def commit(self, checkpoint: str | None = None) -> None: ...


class _Trainer(SFTTrainer):
    """SFTTrainer that takes packed rows and weighted losses, and counts what was computed across a restart.

    Every loss is normalised over the effective batch: the sum over a micro-batch, divided by the weights of all
    micro-batches of the step and all processes. Overrides `_save_checkpoint`, which is private by name in
    transformers; a test holds it in place.
    """

    # transformers: the loss needs no division by the accumulation. TRL types it as None.
    loss_is_scaled_for_ga = True  # type: ignore[assignment]

    def __init__(self, *args: Any, weighted: bool, **kwargs: Any) -> None:
        self.counts = {"computed": 0, "real": 0, "response": 0, "examples": 0}
        self.weighted = weighted
        super().__init__(*args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        counts = self.total_counts()
        if self.accelerator.is_main_process:
            folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            (folder / COUNTS).write_text(json.dumps(counts))
        self.accelerator.wait_for_everyone()  # it is committed next: then each process has written its random state

    def total_counts(self) -> dict[str, int]:
        """`counts` of all processes together; all have to call it."""
        if self.accelerator.num_processes == 1:
            return dict(self.counts)
        own = torch.tensor(list(self.counts.values()), device=self.accelerator.device)
        return dict(zip(self.counts, self.accelerator.reduce(own, reduction="sum").tolist(), strict=True))

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list, Any]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        weight = sum((batch["loss_weights"].sum() for batch in batches), torch.zeros(()))
        return batches, self.accelerator.gather(weight.to(device)).sum().clamp(min=torch.finfo(torch.float32).tiny)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        for name, number in inputs.pop("counts").items():
            self.counts[name] += number
        packed = attending_within_examples(core(self.model)) if "lengths" in inputs else nullcontext()
        with packed:
            return super().training_step(model, inputs, *args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        weights = inputs.pop("loss_weights")
        if "lengths" in inputs:
            losses = packed_losses(model, inputs)
        elif not self.weighted:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        else:
            row = {name: inputs[name] for name in ("input_ids", "attention_mask")}
            logits = model(**row, use_cache=False).logits
            losses = torch.nn.functional.cross_entropy(
                logits[:, :-1].float().transpose(1, 2), inputs["input_ids"][:, 1:], reduction="none"
            )
            weights = weights[:, 1:]
        # Processes average their gradients, so each gives its share of the mean, times their number.
        return (losses * weights).sum() / num_items_in_batch * self.accelerator.num_processes


def core(model: Any) -> PreTrainedModel:
    """The model inside an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class _Progress(TrainerCallback):
    def __init__(self, progress: Progress, on_save: Callable[[int, PreTrainedModel], bool] | None) -> None:
        self.progress = progress
        self.on_save_hook = on_save

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        names = {"loss": "loss", "learning_rate": "learning_rate", "grad_norm": "gradient_norm"}
        values = {f"sft/{names[key]}": float(value) for key, value in (logs or {}).items() if key in names}
        if values:
            self.progress.curve(values, step=state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if self.on_save_hook is not None and self.on_save_hook(state.global_step, model):
            control.should_training_stop = True
        self.progress.commit(f"checkpoint-{state.global_step}")


def sft(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    settings: SFTSettings,
    *,
    seed: int,
    checkpoints: Path,
    progress: Progress,
    on_checkpoint: Callable[[int, PreTrainedModel], bool] | None = None,
) -> tuple[PreTrainedModel, SFTResult]:
    """Fine-tunes `model` on the response tokens of `examples`; returns it (adapter merged) and what was done.

    A run that was cut resumes from the checkpoint that `progress` committed last, kept in the folder `checkpoints`, and
    ends where the uncut run would have.
    `on_checkpoint(step, model)` is called after each saved checkpoint; if it returns True the training stops.
    Raises UserError for no examples, a batch that does not divide, a model that cannot be packed (with
    `settings.packing`), or more padding than `max_padding_share` (without).
    """
    if not examples:
        raise UserError(
            "there is no example to fine-tune on: the split sent none to SFT; raise alfworld.demonstrations"
        )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    on_gpu = trains_on_gpu(model)
    micro = settings.micro_batch(processes)
    config = SFTConfig(
        output_dir=str(checkpoints),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings.accumulation(processes),
        num_train_epochs=1,  # `order` holds all epochs, so that a restart finds its place whatever the epoch
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_share,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        gradient_checkpointing=settings.gradient_checkpointing,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        seed=seed,
        train_sampling_strategy="sequential",  # the rows already lie in the order of training
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=on_gpu,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        save_total_limit=2,
        logging_steps=1,  # a mean over several steps would differ after a restart between them
        report_to=[],
        disable_tqdm=not os.isatty(2),
    )
    epochs = settings.epochs
    if settings.max_steps > 0:
        epochs = settings.max_steps * settings.effective_batch / len(examples)
    lengths = [len(example) for example in examples]
    order = training_order(lengths, settings.effective_batch, epochs, seed)
    collator: PackedRows | PaddedRows = PaddedRows(tokenizer.pad_token_id, settings.context_weight)
    if settings.packing:
        check_packable(model, examples, torch.bfloat16 if config.bf16 else None)
        order = balanced(order, lengths, settings.effective_batch, micro)
        collator = PackedRows(settings.context_weight)
    rows = Dataset.from_list(
        [
            {"input_ids": example.input_ids, "response_mask": example.response_mask, "labels": example.input_ids}
            for example in examples
        ]
    ).select(order)
    trainer = _Trainer(
        model=model,
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=collator,
        weighted=settings.context_weight > 0,
        peft_config=_lora(settings),
        callbacks=[_Progress(progress, on_checkpoint)],
    )
    refuse_sharded_adapter(trainer.accelerator, settings.lora_rank)
    trainer.remove_callback(PrinterCallback)  # without a terminal it would print every log line; metrics.jsonl has them
    if trainer.aux_loss_enabled and (settings.packing or settings.context_weight > 0):
        raise UserError(
            "this mixture of experts trains with an auxiliary loss, which packing and context weights leave out: set "
            "sft.packing: false and sft.context_weight: 0"
        )
    effective = micro * config.gradient_accumulation_steps * trainer.accelerator.num_processes
    if effective != settings.effective_batch:
        raise AssertionError(
            f"the effective batch is {effective}, not the {settings.effective_batch} that was asked for"
        )
    last = None
    if progress.checkpoint is not None:
        last = checkpoints / progress.checkpoint
        if trainer.accelerator.is_main_process:  # the counts of all: one process goes on from them
            trainer.counts = json.loads((last / COUNTS).read_text())
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    trained: Any = whole(trainer)
    if settings.lora_rank:
        trained = trained.merge_and_unload()
    restore_forward(trained)
    trained.eval()
    counts = trainer.total_counts()
    padding = 1 - counts["real"] / max(1, counts["computed"])
    if padding > settings.max_padding_share:
        raise UserError(
            f"{padding:.0%} of the computed tokens were padding, more than sft.max_padding_share = "
            f"{settings.max_padding_share:.0%}: lower sft.device_batch, or allow more"
        )
    result = SFTResult(
        steps=trainer.state.global_step,
        examples=counts["examples"],
        tokens=counts["real"],
        response_tokens=counts["response"],
        padding_share=padding,
        final_loss=_final_loss(trainer.state.log_history),
    )
    return trained, result


def _final_loss(log_history: list[dict[str, float]]) -> float:
    losses = [float(line["loss"]) for line in log_history if "loss" in line][-10:]
    return sum(losses) / len(losses)


def _lora(settings: SFTSettings) -> Any:
    if not settings.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
