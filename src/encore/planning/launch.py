"""How a stage is started on the machine: one process, DDP, or FSDP, whichever fits and the stage can do."""

from __future__ import annotations

from dataclasses import dataclass

from encore.planning.architectures import Backbone
from encore.planning.memory import GB, Load, Memory, estimate
from encore.planning.settings import PlanningSettings
from encore.policy import PolicySettings

# Of accelerate's launcher (FSDP 2); tests have its own parser read them.
FSDP = (
    "--use_fsdp --fsdp_version 2 --fsdp_reshard_after_forward true --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP "
    "--fsdp_state_dict_type FULL_STATE_DICT"
)


@dataclass(frozen=True)
class Fit:
    """Whether a phase fits into one GPU.

    Attributes:
        replicated: bytes of one process.
        ddp: bytes of one of as many as there are GPUs, each with all weights.
        sharded: bytes with all held in equal parts (FSDP over all GPUs).
        capacity: bytes that may be used.
    """

    load: Load
    replicated: Memory
    ddp: Memory
    sharded: Memory
    capacity: float

    @property
    def verdict(self) -> str:
        if self.replicated.total <= self.capacity:
            return "fits one GPU"
        if self.sharded.total <= self.capacity:
            return "needs FSDP"
        return "does not fit"


def fit(backbone: Backbone, policy: PolicySettings, planning: PlanningSettings, load: Load) -> Fit:
    """Memory of a phase on one GPU and on all."""
    return Fit(
        load,
        estimate(backbone, policy.dtype, load),
        estimate(backbone, policy.dtype, load, processes=planning.gpus),
        estimate(backbone, policy.dtype, load, shards=planning.gpus),
        planning.gpu_memory_gb * GB * (1 - planning.memory_margin),
    )


def arguments(strategy: str, processes: int) -> list[str]:
    """Arguments of `accelerate launch`, before `-m`; strategy is ddp or fsdp."""
    parts = ["--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "bf16"]
    parts += ["--dynamo_backend", "no"]
    return parts + (FSDP.split() if strategy == "fsdp" else ["--multi_gpu"] if processes > 1 else [])


def command(stage_command: str, strategy: str, processes: int) -> str:
    """The stage's own command under accelerate."""
    return f"accelerate launch {' '.join(arguments(strategy, processes))} {stage_command.removeprefix('python ')}"
