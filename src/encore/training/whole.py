"""A trained model with all its weights, whatever the processes of the training hold of it."""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from encore.errors import UserError

UNSHARDED = "start with launch.config: conf/accelerate/ddp.yaml, or in one process"


def will_shard() -> bool:
    """Whether accelerate's launcher was told to deal weights out (FSDP): a model is then loaded on the CPU."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def trains_on_gpu(model: PreTrainedModel) -> bool:
    """Whether a training of `model` computes on a GPU: where it is, or where its parts will go."""
    if model.device.type == "cuda":
        return torch.cuda.is_available()
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true"
    return will_shard() and torch.cuda.is_available() and not on_cpu


def is_sharded(accelerator: Any) -> bool:
    """Whether each process holds a part of the weights alone (FSDP)."""
    return getattr(accelerator.state, "fsdp_plugin", None) is not None


def refuse_sharded_adapter(accelerator: Any, lora_rank: int) -> None:
    """Raises UserError for an adapter under FSDP: merging it into sharded weights was never tried."""
    if lora_rank and is_sharded(accelerator):
        raise UserError(f"lora_rank is {lora_rank}, and an adapter cannot be trained sharded: {UNSHARDED}")


def whole(trainer: Any) -> PreTrainedModel:
    """The trainer's model without what accelerate put around it.

    Of sharded weights the first process gets a model on the CPU, and the others one without weights (device `meta`):
    all have to call it.
    """
    accelerator = trainer.accelerator
    model: PreTrainedModel = accelerator.unwrap_model(trainer.model)
    if not is_sharded(accelerator):
        return model
    from accelerate import init_empty_weights

    state = accelerator.get_state_dict(trainer.model)
    with init_empty_weights(include_buffers=False):
        empty = AutoModelForCausalLM.from_config(model.config, dtype=next(model.parameters()).dtype)
    empty.generation_config = model.generation_config
    if accelerator.is_main_process:
        empty.load_state_dict(state, assign=True)
        empty.tie_weights()
    return empty
