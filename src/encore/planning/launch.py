"""How a stage is started on the machine: one process, DDP, or FSDP, whichever fits and the stage can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from encore import configuration
from encore import launch as starting
from encore.errors import UserError
from encore.launch import LaunchSettings
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
        processes: of the sharding.
        planned: whether the profile shards this phase.
    """

    load: Load
    replicated: Memory
    ddp: Memory
    sharded: Memory
    capacity: float
    processes: int
    planned: bool = False

    @property
    def verdict(self) -> str:
        if self.planned:
            fits = self.sharded.total <= self.capacity
            return f"{'fits' if fits else 'does not fit'}, FSDP on {self.processes}"
        if self.replicated.total <= self.capacity:
            return "fits one GPU"
        if self.sharded.total <= self.capacity:
            return "needs FSDP"
        return "does not fit"


def fit(
    backbone: Backbone,
    policy: PolicySettings,
    planning: PlanningSettings,
    load: Load,
    launching: LaunchSettings | None = None,
) -> Fit:
    """Memory of a phase on one GPU and on all: those of `launching`, if its stage is started so and sharded."""
    sharded = load.launched and launching is not None and launching.processes > 1 and starting.shards(launching)
    processes = launching.processes if sharded and launching is not None else planning.gpus
    return Fit(
        load,
        estimate(backbone, policy.dtype, load),
        estimate(backbone, policy.dtype, load, processes=processes),
        estimate(backbone, policy.dtype, load, shards=processes),
        planning.gpu_memory_gb * GB * (1 - planning.memory_margin),
        processes,
        sharded,
    )


def settings(params: Mapping[str, Any]) -> LaunchSettings:
    """The section `launch`; one process if the profile has none."""
    return configuration.build(LaunchSettings, params.get("launch") or {}, "launch")


def checked(launching: LaunchSettings) -> str:
    """Has accelerate read the launcher's file and arguments, and build the plugin that shards; says what it read.

    Raises UserError for a file that is missing or that accelerate refuses.
    """
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser
    from accelerate.utils import FullyShardedDataParallelPlugin

    path = Path(launching.config)
    if not path.is_file():
        raise UserError(f"launch.config is '{path}': there is no such file; choose one of conf/accelerate/")
    try:
        read = load_config_from_file(str(path))
        arguments = launch_command_parser().parse_args(starting.arguments("module", launching, []))
        sharing: dict[str, Any] = getattr(read, "fsdp_config", {}) or {}
        names = {name.removeprefix("fsdp_"): value for name, value in sharing.items()}
        names["fsdp_version"] = names.pop("version", 1)
        plugin = FullyShardedDataParallelPlugin(**_for_plugin(names)) if sharing else None
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise UserError(f"launch.config {path}: accelerate refuses it: {' '.join(str(error).split())}") from error
    how = "all weights in each" if plugin is None else f"FSDP {plugin.fsdp_version}, weights dealt out"
    return f"{arguments.num_processes} processes, {how}; {path} read by accelerate"


def _for_plugin(names: dict[str, Any]) -> dict[str, Any]:
    """The launcher's names as those of its plugin."""
    renamed = {"offload_params": "cpu_offload"}
    return {renamed.get(name, name): value for name, value in names.items()}


def started(stage_command: str, launching: LaunchSettings) -> str:
    """A stage's command, and what it starts."""
    module, *own = stage_command.removeprefix("python -m ").split()
    return f"{stage_command} (starts accelerate launch {' '.join(starting.arguments(module, launching, own))})"


def arguments(strategy: str, processes: int) -> list[str]:
    """Arguments of `accelerate launch`, before `-m`; strategy is ddp or fsdp."""
    parts = ["--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "bf16"]
    parts += ["--dynamo_backend", "no"]
    return parts + (FSDP.split() if strategy == "fsdp" else ["--multi_gpu"] if processes > 1 else [])


def command(stage_command: str, strategy: str, processes: int) -> str:
    """The stage's own command under accelerate."""
    return f"accelerate launch {' '.join(arguments(strategy, processes))} {stage_command.removeprefix('python ')}"
