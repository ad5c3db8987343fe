"""What plays the episodes of a training, and how it gets the weights of each new iteration.

`transformers`: the trained model itself; where its weights are sharded (FSDP), a whole copy in each process, because
episodes end at different times and sharded weights are gathered by all processes together. `vllm_server` and
`vllm_colocated`: vLLM, with the connection, the names of weights and their transfer of TRL (`VLLMGeneration`,
`sync_weights`); only generation is ours, because an episode has many turns. Each process asks for its own episodes.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from encore import rollout
from encore.chat import ChatFormat
from encore.errors import UserError
from encore.rollout.vllm_policy import EngineBackend
from encore.training.agents.settings import AgentRLSettings


class Engine(Protocol):
    """Plays with the weights that the trainer has now."""

    def ready(self) -> AbstractContextManager[rollout.Policy]:
        """The policy with the newest weights, for one iteration; all processes have to open it together."""


class InPlace:
    """The trained model itself."""

    def __init__(self, trainer: Any, chat: ChatFormat) -> None:
        self.trainer, self.chat = trainer, chat

    @contextmanager
    def ready(self) -> Iterator[rollout.Policy]:
        accelerator = self.trainer.accelerator
        model = accelerator.unwrap_model(self.trainer.model)
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), accelerator.autocast():
                yield rollout.TransformersPolicy(model, self.chat)
        finally:
            model.train(was_training)


class WholeCopy:
    """A copy of a sharded model in each process; on a GPU in bfloat16, in which the trained model computes too."""

    def __init__(self, model: PreTrainedModel, chat: ChatFormat) -> None:
        self.trainer: Any = None  # set when it has been made, after this copy
        self.model, self.chat = copy.deepcopy(model).eval().requires_grad_(False), chat

    def place(self, trainer: Any) -> None:
        """Takes the device of `trainer`, whose weights are to be followed."""
        self.trainer = trainer
        device = trainer.accelerator.device
        self.model.to(device=device, dtype=torch.bfloat16 if device.type == "cuda" else None)

    @contextmanager
    def ready(self) -> Iterator[rollout.Policy]:
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, weight in self.trainer.accelerator.unwrap_model(self.trainer.model).named_parameters():
                own[name].copy_(weight.full_tensor())  # gathered by all processes
            yield rollout.TransformersPolicy(self.model, self.chat)


class VLLM:
    """TRL's vLLM of `trainer`: a server that the first process sends weights to, or an engine in each process."""

    def __init__(self, trainer: Any, chat: ChatFormat, settings: AgentRLSettings) -> None:
        self.trainer, self.chat, self.settings = trainer, chat, settings

    @contextmanager
    def ready(self) -> Iterator[rollout.Policy]:
        generation = self.trainer.vllm_generation
        generation.sync_weights()
        self.trainer.accelerator.wait_for_everyone()  # nobody asks before the last weight has arrived
        if self.settings.rollout == "vllm_server":
            yield rollout.VLLMPolicy.server(self.settings.vllm.url, self.chat)
            return
        sleeps = generation.enable_sleep_mode
        if sleeps:
            generation.llm.wake_up(tags=["kv_cache"])
        try:
            yield rollout.VLLMPolicy(_TrainersEngine(generation.llm), self.chat)
        finally:
            if sleeps:  # its memory goes to the update; `sync_weights` wakes it
                generation.llm.sleep(level=2)
                generation._llm_weights_sleeping = True


class _TrainersEngine(EngineBackend):
    """An engine that is there already."""

    def __init__(self, llm: Any) -> None:
        import vllm

        self.vllm, self.llm = vllm, llm


def check(settings: AgentRLSettings, on_gpu: bool) -> None:
    """Raises UserError where an engine cannot be had: vLLM is not installed, or weights are on no GPU."""
    if settings.rollout == "transformers":
        return
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            f"rl.rollout is {settings.rollout}, and vLLM is not installed: pip install 'trl[vllm]', or set rl.rollout: "
            "transformers"
        )
    if not on_gpu:
        raise UserError(
            f"rl.rollout is {settings.rollout}, which needs a GPU to train on: set policy.device: cuda, or rl.rollout: "
            "transformers"
        )


def arguments(settings: AgentRLSettings, max_length: int) -> dict[str, Any]:
    """Arguments of `trl.GRPOConfig` for the engine: none for transformers."""
    if settings.rollout == "transformers":
        return {}
    chosen = settings.vllm
    return {
        "use_vllm": True,
        "vllm_mode": "server" if settings.rollout == "vllm_server" else "colocate",
        "vllm_server_base_url": chosen.url,
        "vllm_server_timeout": chosen.timeout_s,
        "vllm_group_port": chosen.group_port,
        "vllm_gpu_memory_utilization": chosen.gpu_memory_share,
        "vllm_enable_sleep_mode": chosen.sleep,
        "vllm_max_model_length": max_length,
        "max_completion_length": settings.max_action_tokens,
        "vllm_importance_sampling_correction": chosen.correction_cap > 0,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": chosen.correction_cap or None,
    }
