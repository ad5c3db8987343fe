"""What the processes of a training on several rewards tell each other, so that each holds the same scalarizer.

Each process answers its own prompts. Then all know all answers, and groups of similar length are dealt to the same
device step, whichever process computes them. Of each device step all get the rewards and hidden states of all, weigh
them, and keep the advantages of their own rows. So the Conductor reads, draws and learns on every process what it would
in one process whose device batch were as large as all of theirs together: the number of processes is not in the draws.

With one process nothing here is communicated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from encore.scalarization import Scalarizer

Item = TypeVar("Item")


def shared(accelerator: Any, own: list[Item]) -> list[Item]:
    """The lists of all processes one after the other; items have to be picklable."""
    found: list[Item] = own if accelerator.num_processes == 1 else gather_object(own)
    return found


def dealt(lengths: Sequence[int], group_size: int, device_steps: int, processes: int) -> list[list[list[int]]]:
    """Rows of each device step of each process, [device step][process]: whole groups, similar lengths together.

    `lengths` are those of all processes' responses, groups one after the other.
    """
    longest = [max(lengths[start : start + group_size]) for start in range(0, len(lengths), group_size)]
    groups = sorted(range(len(longest)), key=lambda group: longest[group])
    rows = [group * group_size + member for group in groups for member in range(group_size)]
    each = len(rows) // (device_steps * processes)
    parts = [rows[start : start + each] for start in range(0, len(rows), each)]
    return [parts[start : start + processes] for start in range(0, len(parts), processes)]


def gathered(accelerator: Any, own: Tensor) -> Tensor:
    """The rows of all processes, in the order of processes, where `own` lies."""
    if accelerator.num_processes == 1:
        return own
    found: Tensor = accelerator.gather(own.to(accelerator.device).contiguous()).to(own.device)
    return found


def own_rows(accelerator: Any, rows: Tensor) -> Tensor:
    """This process's part of what `gathered` gave."""
    each = len(rows) // accelerator.num_processes
    return rows[accelerator.process_index * each :][:each]


class JointOptimizer:
    """Of the scalarizer's parameters that learn from the policy's loss, where they cannot be in the policy's optimizer.

    Under FSDP that takes sharded weights alone. It is the same AdamW with the same schedule, on the mean gradient of
    all processes: the policy's loss is already scaled for that.
    """

    def __init__(self, scalarizer: Scalarizer, arguments: Any) -> None:
        self.parameters: list[nn.Parameter] = scalarizer.trained_with_policy()
        self.learning_rate, self.base = scalarizer.learning_rate, arguments.learning_rate
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=self.learning_rate,
            betas=(arguments.adam_beta1, arguments.adam_beta2),
            eps=arguments.adam_epsilon,
            weight_decay=0.0,
        )

    def step(self, accelerator: Any, policy_rate: float) -> None:
        """One update, at the moment of the policy's, whose learning rate is `policy_rate`."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad = accelerator.reduce(parameter.grad, reduction="mean")
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * policy_rate / self.base
        self.optimizer.step()
