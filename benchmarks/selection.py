"""Selection beside what one would run instead, in one process, as ratios.

    python benchmarks/selection.py                                  # the walk, its growth, LESS
    python benchmarks/selection.py --kinds stored --pool STORE --targets STORE     # the walk on gradients of examples
    python benchmarks/selection.py --large --store FOLDER           # 270,000 rows of 8,192 numbers, from a store

walk: the gradient walk against the authors' algorithm in plain numpy (selection_peers.py), which wants a graph of
neighbours made beforehand. Ours takes raw rows and includes its checks, the components and the neighbours; the peer is
timed with its graph and, apart from that, without it. Outputs are compared, index by index.
growth: the walk at four sizes, and the power of N that fits.
less: scores from a store in fp16 against reading its bytes, and against plain numpy.

Times are the process's own (user and system), which other work on the machine disturbs least, but where a part says
wall. Rows are synthetic, but for the kind "stored". Which kind matters: a walk looks at more candidates where more of
them conflict.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import selection_peers as peers
import torch
from selection_rows import KINDS, TARGETS, Rows, Source, Stored

from encore.gradients import Store
from encore.selection import gradient_walk, less_scores
from encore.selection.checks import check_rows
from encore.selection.principal import core_knowledge
from encore.selection.rows import UnitRows, whole
from encore.selection.walk import Walk, walk

NEIGHBOURS = 1000
_BLOCK = 2048


def timed(function: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> tuple[float, Any]:
    start = clock()
    found = function()
    return clock() - start, found


def measure_walk(made: Source, kind: str, rows: int, dim: int, fraction: float, repeats: int) -> dict[str, Any]:
    """Ours before and after the peer, so that a machine that slows down slows both."""
    source = made(kind, dim)
    pool, targets = source.pool(rows), source.targets()

    def ours() -> list[int]:
        return gradient_walk(pool, targets, fraction, neighbours=NEIGHBOURS)

    count = int(rows * fraction)
    times = [timed(ours)[0] for _ in range(1 + repeats // 2)][1:]
    prepare_s, (unit, (components, weights)) = timed(lambda: (peers.unit(pool), peers.principal_components(targets)))
    graph_s, lists = timed(lambda: peers.graph(unit, NEIGHBOURS))
    counts = peers.Counts()
    walk_s, wanted = timed(lambda: peers.walk(unit, components, weights, count, lists, counts=counts))
    found: list[int] = []
    for _ in range(repeats - repeats // 2):
        seconds, found = timed(ours)
        times.append(seconds)
    ours_s = statistics.median(times)
    core = core_knowledge(whole(targets, "target"))
    detail = walk(UnitRows(pool), core, count)
    plain_s, plain = timed(lambda: walk(UnitRows(pool), core, count, sketch=False))
    same = next((place for place, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), len(wanted))
    return {
        "kind": kind, "rows": rows, "dim": pool.shape[1], "targets": len(targets), "budget": count,
        "chosen": len(wanted), "identical": found == wanted, "same_until": same,
        "components": len(components), "looked_at": counts.looked,
        "conflicts": counts.conflicts, "fallbacks": counts.via.count("fallback"),
        "ours_s": ours_s, "ours_spread_s": [min(times), max(times)], "readings": detail.readings,
        "without_sketch_s": plain_s, "without_sketch_readings": plain.readings,
        "peer_prepare_s": prepare_s, "peer_graph_s": graph_s, "peer_walk_s": walk_s,
        "ratio_with_graph": (prepare_s + graph_s + walk_s) / ours_s,
        "ratio_graph_given": (prepare_s + walk_s) / ours_s,
    }  # fmt: skip


def measure_growth(
    made: Source, kind: str, sizes: list[int], dim: int, fraction: float, repeats: int
) -> dict[str, Any]:
    """The same for a fraction of the pool, and the least-squares power of N."""
    source = made(kind, dim)
    pool, targets = source.pool(max(sizes)), source.targets()
    times: dict[int, list[float]] = {size: [] for size in sizes}
    readings = {}
    for _ in range(repeats):
        for size in sizes:
            times[size].append(timed(partial(gradient_walk, pool[:size], targets, fraction))[0])
    core = core_knowledge(whole(targets, "target"))
    for size in sizes:
        readings[size] = walk(UnitRows(pool[:size]), core, int(size * fraction)).readings
    seconds = [statistics.median(times[size]) for size in sizes]
    power, _ = np.polyfit(np.log(sizes), np.log(seconds), 1)
    residual = np.log(seconds) - np.polyval(np.polyfit(np.log(sizes), np.log(seconds), 1), np.log(sizes))
    return {
        "kind": kind, "dim": pool.shape[1], "rows": sizes, "seconds": seconds,
        "readings": [readings[size] for size in sizes],
        "power": float(power), "largest_residual": float(np.abs(np.expm1(residual)).max()),
    }  # fmt: skip


def make_store(folder: Path, kind: str, rows: int, dim: int, shard: int = 8192) -> Store:
    """A store in fp16, made in blocks; goes on where it was stopped."""
    store = Store.create(folder, dim=dim, dtype="fp16", kind=kind, rows=rows)
    for number, start in enumerate(range(0, rows, shard)):
        ids = [str(place) for place in range(start, min(start + shard, rows))]
        if not store.written(number, ids):
            source = Rows(kind, dim)
            source.random = np.random.default_rng([1, number])
            parts = [source.pool(min(_BLOCK, len(ids) - at)) for at in range(0, len(ids), _BLOCK)]
            store.write(number, ids, torch.from_numpy(np.concatenate(parts)))
    store.seal(store.ids)
    return Store.open(folder)


def plain_read(store: Store) -> int:
    """Every byte of the store's files, into one buffer."""
    buffer = bytearray(1 << 22)
    size = 0
    for shard in store.shards:
        with shard.path.open("rb", buffering=0) as file:
            while read := file.readinto(buffer):
                size += read
    return size


def plain_less(store: Store, targets: np.ndarray) -> np.ndarray:
    """As one would write it: all rows in float32, unit, times unit targets, and a mean."""
    return (peers.unit(store[:]) @ peers.unit(targets).T).mean(1)


def measure_less(folder: Path, rows: int, dim: int, repeats: int) -> dict[str, Any]:
    store = make_store(folder, "mixed", rows, dim)
    targets = Rows("mixed", dim).targets()
    size = plain_read(store)
    error = float(np.abs(less_scores(store, targets).numpy() - plain_less(store, targets)).max())
    methods: dict[str, Callable[[], Any]] = {
        "plain read": lambda: plain_read(store),
        "ours": lambda: less_scores(store, targets),
        "plain numpy": lambda: plain_less(store, targets),
    }
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, run in methods.items():
            times[name].append(timed(run)[0])
    medians = {name: statistics.median(every) for name, every in times.items()}
    return {
        "rows": rows, "dim": dim, "store_bytes": size, "largest_difference": error, "seconds": medians,
        "ours_over_read": medians["ours"] / medians["plain read"],
        "numpy_over_ours": medians["plain numpy"] / medians["ours"],
        "gigabytes_per_s": {name: size / 1e9 / one for name, one in medians.items()},
    }  # fmt: skip


def measure_large(folder: Path, rows: int, dim: int, fraction: float, device: str | None) -> dict[str, Any]:
    """Once, by the wall and in processor time; memory beside the mapped store, which the system may drop, and with
    it."""
    (making_s, _), store = timed_twice(lambda: make_store(folder, "mixed", rows, dim))
    targets = torch.from_numpy(Rows("mixed", dim).targets())
    less_s, _ = timed_twice(lambda: less_scores(store, targets, device=device))
    before = resident()

    def walked() -> Walk:
        """What `gradient_walk` does, with what it had to spend."""
        core = core_knowledge(whole(targets, "target"))
        check_rows(store)
        return walk(UnitRows(store, device=device), core, int(rows * fraction))

    walk_s, found = timed_twice(walked)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {
        "rows": rows, "dim": dim, "device": device or "cpu", "threads": torch.get_num_threads(),
        "load": os.getloadavg(), "budget": int(rows * fraction), "chosen": len(found.indices),
        "readings": found.readings, "making_wall_s": making_s, "less_wall_and_processor_s": less_s,
        "walk_wall_and_processor_s": walk_s, "peak_gib": peak, "anonymous_gib_before_and_after": [before, resident()],
    }  # fmt: skip


def timed_twice(function: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """Seconds by the wall and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    found = function()
    return (time.perf_counter() - wall, time.process_time() - processor), found


def resident() -> float:
    """GiB of the process that no file backs; NaN where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024**2 for line in lines if line.startswith("RssAnon")), float("nan"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["walk", "growth", "less"], choices=["walk", "growth", "less"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=[*KINDS, "stored"])
    parser.add_argument("--pool", type=Path, help='store of the kind "stored"; its dimension is that of the rows')
    parser.add_argument("--targets", type=Path, help=f"store of its targets, of which the first {TARGETS} are taken")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--fraction", type=float, default=0.01)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--less-dim", type=int, default=8192)
    parser.add_argument("--large", action="store_true", help="270,000 x 8,192 from a store of 4.4 GB, and nothing else")
    parser.add_argument("--large-rows", type=int, default=270_000)
    parser.add_argument("--large-dim", type=int, default=8192)
    parser.add_argument("--store", type=Path, help="folder of the store; kept, and used again (default: temporary)")
    parser.add_argument("--device")
    options = parser.parse_args()
    if "stored" in options.kinds and not (options.pool and options.targets):
        parser.error('the kind "stored" needs --pool and --targets')

    def made(kind: str, dim: int) -> Rows | Stored:
        return Stored(options.pool, options.targets) if kind == "stored" else Rows(kind, dim)

    print(json.dumps({
        "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg(),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "numpy": np.__version__,
    }), flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.store or Path(temporary)
        if options.large:
            show("large", measure_large(
                folder / "large", options.large_rows, options.large_dim, options.fraction, options.device,
            ))  # fmt: skip
            return
        if "walk" in options.parts:
            for kind in options.kinds:
                show("walk", measure_walk(made, kind, options.rows, options.dim, options.fraction, options.repeats))
        if "growth" in options.parts:
            sizes = [options.rows // part for part in (8, 4, 2, 1)]
            for kind in options.kinds:
                show(
                    "growth", measure_growth(made, kind, sizes, options.dim, options.fraction, min(3, options.repeats))
                )
        if "less" in options.parts:
            show("less", measure_less(folder / "less", options.rows, options.less_dim, options.repeats))


def show(part: str, found: dict[str, Any]) -> None:
    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, dict):
            return {name: short(one) for name, one in value.items()}
        return [short(one) for one in value] if isinstance(value, list | tuple) else value

    print(part, json.dumps(short(found)), flush=True)


if __name__ == "__main__":
    main()
