"""Many workers, one store: each makes every n-th shard, whichever way the workers are started.

The work is cut into shards of consecutive examples before it is dealt out, so the files do not depend on how many
workers there were, a killed worker is started again alone, and merging moves nothing: it checks and writes the index.

    def work(shard):                                    # the same function
        write_features(path, model, examples, projector, shard=shard)

    run_workers(work, 4)                                # one after another
    run_workers(work, 4, launcher="ray", num_gpus=1)    # as Ray tasks
    work(torchrun_shard())                              # in each process that torchrun has started
    merge(path, ids)                                    # once, when all have ended

Machines without a common disk each write to a folder of their own; their `rows-*` files, put into one folder with any
of the (equal) `store.json`, merge as well.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from encore.errors import UserError
from encore.gradients.adam import Adam, Moments, State, read_moments
from encore.gradients.backward import checked
from encore.gradients.frobenius import norms
from encore.gradients.layers import adapter_layers, find_layers
from encore.gradients.layout import batches
from encore.gradients.lora_features import features
from encore.gradients.projectors import Projector
from encore.gradients.store import Store, StoreType

RawExample = tuple[str, Any, Any]
"""(id, input_ids, response_mask), as `gradients.batches` takes it."""


def torchrun_shard() -> tuple[int, int]:
    """(rank, world size) that torchrun has put into the environment; (0, 1) outside it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def write_features(
    path: str | Path,
    model: nn.Module,
    examples: Sequence[RawExample],
    projector: Projector,
    optimizer_state: State | None = None,
    adam: Adam = "less_code",
    *,
    shard: tuple[int, int] = (0, 1),
    rows_per_shard: int = 4096,
    max_tokens: int | None = None,
    dtype: StoreType = "fp16",
    **options: Any,
) -> Store:
    """Writes worker `shard = (i, n)`'s part of the examples' features to the store at `path`; finished shards are kept.

    Every worker is given all examples and takes the shards i, i + n, i + 2n and so on. When all have ended, `merge`
    seals the store. `options` go to `gradients.features`, `max_tokens` to `gradients.batches`.

    Raises:
        UserError: as `features`, for any example, before any compute; the store is of another model, projector,
            optimizer state or list of examples.
    """
    layers = adapter_layers(model)
    coordinates = sum(outputs * inputs for outputs, inputs in (layer.shape for layer in layers))
    moments = None if optimizer_state is None else read_moments(optimizer_state, model, layers)
    device = next(model.parameters()).device.type
    checked(model, batches(examples, max_tokens=max_tokens, device=device), options.get("context_length"))
    store = Store.create(
        path,
        dim=projector.width(coordinates),
        dtype=dtype,
        **_about(model, examples, rows_per_shard),
        projector=projector.describe() | {"coordinates": coordinates},
        adam=None if moments is None else {"reading": adam, "state": moments_hash(moments)},
    )

    def compute(part: Sequence[RawExample]) -> Tensor:
        given = batches(part, max_tokens=max_tokens, device=device)
        return features(model, given, projector, optimizer_state, adam, **options)

    return _write(store, examples, compute, shard, rows_per_shard)


def write_norms(
    path: str | Path,
    model: nn.Module,
    examples: Sequence[RawExample],
    *,
    layers: Sequence[str] | None = None,
    shard: tuple[int, int] = (0, 1),
    rows_per_shard: int = 4096,
    max_tokens: int | None = None,
    **options: Any,
) -> Store:
    """As `write_features`, for `gradients.norms`: float32 rows, the names of the matrices in `store.about`."""
    matrices = [layer.name for layer in find_layers(model, layers)]
    device = next(model.parameters()).device.type
    checked(model, batches(examples, max_tokens=max_tokens, device=device), options.get("context_length"))
    about = _about(model, examples, rows_per_shard)
    store = Store.create(path, dim=len(matrices), dtype="fp32", **about, matrices=matrices)

    def compute(part: Sequence[RawExample]) -> Tensor:
        return norms(model, batches(part, max_tokens=max_tokens, device=device), layers=layers, **options)

    return _write(store, examples, compute, shard, rows_per_shard)


def _about(model: nn.Module, examples: Sequence[RawExample], rows_per_shard: int) -> dict[str, Any]:
    return {"model": model_hash(model), "examples": examples_hash(examples), "rows_per_shard": rows_per_shard}


def _write(
    store: Store,
    examples: Sequence[RawExample],
    compute: Callable[[Sequence[RawExample]], Tensor],
    shard: tuple[int, int],
    rows_per_shard: int,
) -> Store:
    worker, workers = shard
    if not 0 <= worker < workers:
        raise UserError(f"shard ({worker}, {workers}): the worker's number must be from 0 to {workers - 1}")
    for number in range(worker, -(-len(examples) // rows_per_shard), workers):
        part = examples[number * rows_per_shard : (number + 1) * rows_per_shard]
        ids = [str(name) for name, _, _ in part]
        if not store.written(number, ids):
            store.write(number, ids, compute(part))
    return store


def merge(path: str | Path, ids: Sequence[str]) -> Store:
    """Checks counts and checksums of every shard and writes the index; the store then holds the rows of `ids`.

    Raises:
        UserError: a shard is missing, torn, foreign or damaged, or the rows are not those of `ids`.
    """
    store = Store.open(path)
    store.seal([str(name) for name in ids])
    return store


def run_workers(
    work: Callable[[tuple[int, int]], Any], workers: int, launcher: str = "loop", **resources: Any
) -> list[Any]:
    """Calls `work((i, n))` for every worker i of n, and returns what each returned, in order.

    Args:
        launcher: "loop", one after another in this process; "ray", each a Ray task with `resources`
            (`num_gpus=1`, `num_cpus=4`), on whatever cluster Ray is connected to. Under torchrun call
            `work(torchrun_shard())` instead: its processes are already there.

    Raises:
        UserError: an unknown launcher, or Ray is not installed.
    """
    if launcher == "loop":
        return [work((worker, workers)) for worker in range(workers)]
    if launcher != "ray":
        raise UserError(f'launcher {launcher!r} is neither "loop" nor "ray"; under torchrun use torchrun_shard()')
    try:
        import ray
    except ImportError as error:
        raise UserError("Ray is not installed: pip install 'encore[ray]', or use the launcher \"loop\"") from error
    remote = ray.remote(**resources)(work) if resources else ray.remote(work)
    return ray.get([remote.remote((worker, workers)) for worker in range(workers)])


def model_hash(model: nn.Module) -> str:
    """Tells models apart by names, shapes and types of all parameters and by a thousand values of each.

    Adapters, which training changes, are hashed whole; base weights are not: reading 16 GB takes longer than many a
    shard.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {list(parameter.shape)} {parameter.dtype}".encode())
        values = parameter.detach().flatten()
        step = 1 if ".lora_" in name else max(1, len(values) // 1000)
        digest.update(values[::step].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def moments_hash(moments: Sequence[Moments]) -> str:
    """Of an optimizer's memory, whole."""
    digest = hashlib.sha256()
    for one in moments:
        digest.update(f"{one.step} {one.betas} {one.epsilon}".encode())
        digest.update(one.exp_avg.cpu().numpy().tobytes())
        digest.update(one.exp_avg_sq.cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def examples_hash(examples: Sequence[RawExample]) -> str:
    """Of ids, tokens and masks, in order."""
    digest = hashlib.sha256()
    for name, tokens, response in examples:
        digest.update(f"{name} {len(tokens)} ".encode())
        digest.update(torch.as_tensor(tokens, dtype=torch.int64).numpy().tobytes())
        digest.update(torch.as_tensor(response).bool().numpy().tobytes())
    return digest.hexdigest()[:32]
