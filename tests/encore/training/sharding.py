"""FSDP on CPUs, for tests: torch has it, and accelerate takes it for GPUs alone."""

from __future__ import annotations

import os

from accelerate import PartialState
from accelerate.utils import DistributedType

ENVIRONMENT = {  # what accelerate's launcher makes of conf/accelerate/fsdp.yaml; a test compares
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    "FSDP_ACTIVATION_CHECKPOINTING": "false",
}


def allow_on_cpus() -> None:
    """Where the launcher's variables ask for FSDP, processes on CPUs count as GPUs for accelerate."""
    if os.environ.get("ACCELERATE_USE_FSDP") != "true":
        return
    original = PartialState.__init__

    def init(self, cpu=False, **others):
        original(self, cpu, **others)
        if self.distributed_type is DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = init
