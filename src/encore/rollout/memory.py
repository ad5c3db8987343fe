"""What a rollout takes of memory by row, and the one line that says how many rows fit when it is full."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch
from transformers import PreTrainedModel

from encore.errors import UserError

USABLE = 0.9  # of what is free: a forward pass needs some beside the rows, and allocators leave gaps
_CGROUP = Path("/sys/fs/cgroup")


def exhausted(error: BaseException) -> bool:
    """Is this error a lack of memory: of a GPU, or of this machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)  # Torch has no class for it


def row_bytes(model: PreTrainedModel, max_length: int) -> int:
    """Bytes that one row takes at most, when all rows have grown to `max_length` tokens.

    That is keys and values of all layers, one more of these tensors while the cache grows (the old one is read while
    the new one is filled), and the row's logits with what sampling makes of them.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    tensor = max_length * heads * width * model.dtype.itemsize
    sampling = model.dtype.itemsize + 4 + 4 + 4 + 8  # logits, in 32 bits, log-probabilities, probabilities, their sums
    return tensor * (2 * config.num_hidden_layers + 1) + config.vocab_size * sampling


def free_bytes(device: torch.device) -> int | None:
    """Bytes that this process can still allocate on a device; None where no one says."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # the allocator's own stock
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    if device.type == "cpu":
        return int(min(psutil.virtual_memory().available, _container_bytes()))
    return None


def _container_bytes() -> float:
    """What the container's limit leaves; infinite without a limit (cgroup v2)."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        counters = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except FileNotFoundError:
        return float("inf")
    # Pages of files that nobody uses are counted as used, and given up when memory is asked for.
    return float("inf") if limit == "max" else int(limit) - used + int(counters.get("inactive_file", 0))


def full(model: PreTrainedModel, rows: int, max_length: int, held: int) -> UserError:
    """The error for a rollout of `rows` rows that ran out of memory; `held` are the bytes that its cache holds."""
    each = row_bytes(model, max_length)
    free = free_bytes(model.device)
    fit = rows if free is None else int(USABLE * (free + held) // each)
    said = "" if free is None else f", and {_size(free + held)} are free for rows"
    line = (
        f"out of memory on {model.device} with {rows} episodes at a time: one takes up to {_size(each)} at max_length "
        f"{max_length}{said}: "
    )
    if fit >= rows:  # not the rows themselves: what a step computes, which their number sets too
        fit = rows // 2
    if fit >= 1:
        return UserError(f"{line}lower the batch size to {fit}")
    return UserError(f"{line}not one fits, so lower max_length or take a smaller model")


def check_cpu(needed: int) -> None:
    """Raises MemoryError if this machine has not `needed` bytes: Linux would grant them, and kill the process later."""
    free = free_bytes(torch.device("cpu"))
    if free is not None and needed > free:
        raise MemoryError(f"{needed} bytes needed, {free} free")


def _size(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.1f} MiB"
