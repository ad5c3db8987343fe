"""Supervised fine-tuning on response masks, by TRL's SFTTrainer.

Examples are grouped by length, so that little of what is computed is padding; how much is measured and returned. The
effective batch (examples an optimizer step, over accumulation and processes) is asserted, not assumed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from encore.errors import UserError
from encore.training.batches import training_order
from encore.training.settings import SFTSettings
from encore.trajectories import Example

COUNTS = "counts.json"  # beside each checkpoint


@dataclass(frozen=True)
class SFTResult:
    """What a fine-tuning did. `tokens` counts tokens that are no padding, `padding_share` padding in all computed."""

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


class _Collator:
    """Pads on the right; counts the padding of training batches."""

    def __init__(self, pad_id: int, context_weight: float) -> None:
        self.pad_id = pad_id
        self.context_weight = context_weight

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        input_ids = torch.full((len(rows), longest), self.pad_id)
        attention_mask = torch.zeros((len(rows), longest), dtype=torch.long)
        weights = torch.zeros((len(rows), longest))
        for index, row in enumerate(rows):
            length = len(row["input_ids"])
            input_ids[index, :length] = torch.tensor(row["input_ids"])
            attention_mask[index, :length] = 1
            response = torch.tensor(row["response_mask"], dtype=torch.float32)
            weights[index, :length] = response + (1 - response) * self.context_weight
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        batch["labels"] = torch.where(weights > 0, input_ids, -100)
        if self.context_weight > 0:
            batch["loss_weights"] = weights
        return batch


class _Trainer(SFTTrainer):
    """SFTTrainer with a loss with weights, and counts of what was computed that survive a restart.

    Overrides `_save_checkpoint`, which is private by name in transformers; a test holds it in place.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.counts = {"computed": 0, "real": 0, "response": 0, "examples": 0}
        super().__init__(*args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        (folder / COUNTS).write_text(json.dumps(self.counts))

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        self.counts["computed"] += inputs["input_ids"].numel()
        self.counts["real"] += int(inputs["attention_mask"].sum())
        self.counts["response"] += int((inputs["labels"] != -100).sum())
        self.counts["examples"] += inputs["input_ids"].shape[0]
        return super().training_step(model, inputs, *args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if "loss_weights" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        weights = inputs["loss_weights"][:, 1:]
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False).logits
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().transpose(1, 2), inputs["input_ids"][:, 1:], reduction="none"
        )
        # Trainer leaves the division by the accumulation to a loss that knows the whole batch's token count.
        return (losses * weights).sum() / weights.sum() / self.current_gradient_accumulation_steps


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
    Raises UserError for no examples, a batch that does not divide, or more padding than `max_padding_share`.
    """
    if not examples:
        raise UserError(
            "there is no example to fine-tune on: the split sent none to SFT; raise alfworld.demonstrations"
        )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    on_gpu = torch.cuda.is_available() and model.device.type == "cuda"
    config = SFTConfig(
        output_dir=str(checkpoints),
        per_device_train_batch_size=min(settings.device_batch, settings.effective_batch),
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
        dataloader_pin_memory=on_gpu,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        save_total_limit=2,
        logging_steps=10,
        logging_first_step=True,
        report_to=[],
        disable_tqdm=not os.isatty(2),
    )
    epochs = settings.epochs
    if settings.max_steps > 0:
        epochs = settings.max_steps * settings.effective_batch / len(examples)
    order = training_order([len(example) for example in examples], settings.effective_batch, epochs, seed)
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
        data_collator=_Collator(tokenizer.pad_token_id, settings.context_weight),
        peft_config=_lora(settings),
        callbacks=[_Progress(progress, on_checkpoint)],
    )
    trainer.remove_callback(PrinterCallback)  # without a terminal it would print every log line; metrics.jsonl has them
    effective = (
        config.per_device_train_batch_size * config.gradient_accumulation_steps * trainer.accelerator.num_processes
    )
    if effective != settings.effective_batch:
        raise AssertionError(
            f"the effective batch is {effective}, not the {settings.effective_batch} that was asked for"
        )
    last = None
    if progress.checkpoint is not None:
        last = checkpoints / progress.checkpoint
        trainer.counts = json.loads((last / COUNTS).read_text())
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    trained = trainer.accelerator.unwrap_model(trainer.model)
    if settings.lora_rank:
        trained = trained.merge_and_unload()
    trained.eval()
    counts = trainer.counts
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
        final_loss=[float(line["loss"]) for line in trainer.state.log_history if "loss" in line][-1],
    )
    return trained, result


def _lora(settings: SFTSettings) -> Any:
    if not settings.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
