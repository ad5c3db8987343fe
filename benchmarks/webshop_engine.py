"""How fast and how large webshop_env is: `python benchmarks/webshop_engine.py [--data FOLDER] [--large] [--long]`.

Claims (README of webshop_env): at least 10,000 steps/s on mixed episodes with uncached searches counted apart; 0.5 ms
or less for a query at 1,000 products; load under 3 s and 150 MB at 1,000 products; an index of 100,000 products in
minutes; memory flat over 100,000 episodes. Without --data the shop is an invented one of 1,000 products, written to
files and loaded from them. Each measurement runs in a fresh process. Prints one JSON object a line.

There is no ratio to a peer here: the original engine needs a JVM, Python 3.8 and files that cannot be installed beside
this package.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

EPISODE_STEPS = 15
REPEATS = 5


def resident_mb() -> float:
    """Memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def peak_mb() -> float:
    """Highest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure_load(folder: str) -> dict[str, Any]:
    """A first load (noun sets and index may have to be built) is done by the caller; this one finds them cached."""
    start = time.perf_counter()
    from webshop_env import WebShopEnv, load_shop

    shop = load_shop(folder)
    env = WebShopEnv(shop)
    env.reset(0)
    env.step("search[red shirt]")
    return {
        "claim": "load",
        "products": len(shop.catalogue),
        "wall_s": round(time.perf_counter() - start, 3),
        "peak_mb": round(peak_mb(), 1),
    }


def _episode(env: Any, goal: int, generator: random.Random) -> int:
    """One mixed episode: reads, pages, sub pages, options, now and then an impossible action; returns its steps."""
    env.reset(goal)
    env.step(f"search[{env.instruction}]")
    for number in range(2, EPISODE_STEPS + 1):
        names = list(env.page_targets)
        if env.asin and number > 8:
            action = "click[buy now]"
        elif generator.random() < 0.05:
            action = "click[what is not there]"
        else:
            name = names[generator.randrange(len(names))]
            action = f"search[{env.instruction}]" if name in ("back to search", "search") else f"click[{name}]"
        if env.step(action).done:
            return number
    return EPISODE_STEPS


def measure_steps(folder: str) -> dict[str, Any]:
    """Steps per second in mode text, and the same in text_rich; the hits of each query are known beforehand."""
    from webshop_env import WebShopEnv, load_shop

    shop = load_shop(folder)
    result: dict[str, Any] = {"claim": "steps", "products": len(shop.catalogue)}
    goals = range(min(500, len(shop.goals)))
    for mode in ("text", "text_rich"):
        env = WebShopEnv(shop, mode)  # type: ignore[arg-type]
        rates = []
        for repeat in range(REPEATS + 1):
            generator = random.Random(0)
            start = time.perf_counter()
            steps = sum(_episode(env, goal, generator) for goal in goals)
            if repeat:  # the first round fills the memory of queries
                rates.append(steps / (time.perf_counter() - start))
        result[f"{mode}_steps_per_s"] = round(median(rates))
        result[f"{mode}_steps_per_s_range"] = [round(min(rates)), round(max(rates))]
    return result


def measure_queries(folder: str) -> dict[str, Any]:
    """Milliseconds of a query that was not asked before, for the instructions of the first 1,000 goals."""
    from webshop_env import Search, load_shop

    shop = load_shop(folder)
    search = Search(shop.catalogue, remembered=0)
    queries = [shop.goals[index].instruction_text.lower() for index in range(min(1000, len(shop.goals)))]
    taken = []
    for query in queries:
        start = time.perf_counter()
        search.top(query)
        taken.append(1000 * (time.perf_counter() - start))
    taken.sort()
    return {
        "claim": "queries",
        "products": len(shop.catalogue),
        "median_ms": round(median(taken), 3),
        "p95_ms": round(taken[int(0.95 * len(taken))], 3),
        "mean_ms": round(sum(taken) / len(taken), 3),
    }


def measure_large(folder: str) -> dict[str, Any]:
    """Unpacking and indexing of 100,000 invented products from files, in a cache of its own."""
    from webshop_env.generate import generate_files, write_files

    base = Path(folder)
    count = 100_000
    writer = os.fork()
    if writer == 0:  # in a process of its own, so that its memory is not counted
        write_files(base, generate_files(count))
        os._exit(0)
    os.waitpid(writer, 0)
    os.environ["WEBSHOP_CACHE"] = str(base / "cache")
    from webshop_env import Search, load_shop

    start = time.perf_counter()
    shop = load_shop(base)
    loaded = time.perf_counter()
    search = Search(shop.catalogue)
    indexed = time.perf_counter()
    peak = peak_mb()
    taken = []
    for index in range(200):
        query = shop.goals[index * 997 % len(shop.goals)].instruction_text
        begun = time.perf_counter()
        search.top(query)
        taken.append(1000 * (time.perf_counter() - begun))
    begun = time.perf_counter()
    Search(load_shop(base).catalogue)
    return {
        "claim": "large",
        "products": count,
        "product_file_mb": round((base / "items_shuffle_1000.json").stat().st_size / 1e6),
        "goals": len(shop.goals),
        "load_s": round(loaded - start, 1),
        "index_s": round(indexed - loaded, 1),
        "peak_mb": round(peak),
        "median_query_ms": round(median(taken), 2),
        "load_again_s": round(time.perf_counter() - begun, 1),
    }


def measure_long(folder: str) -> dict[str, Any]:
    """Resident memory after every 20,000 of 100,000 episodes, each with random goals and a session name of its own."""
    from webshop_env import WebShopEnv, load_shop

    shop = load_shop(folder)
    env, generator = WebShopEnv(shop), random.Random(0)
    curve = []
    for episode in range(100_000):
        _episode(env, generator.randrange(len(shop.goals)), generator)
        env.reset()
        if (episode + 1) % 20_000 == 0:
            curve.append(round(resident_mb(), 1))
    return {"claim": "long", "products": len(shop.catalogue), "episodes": 100_000, "resident_mb": curve}


MEASUREMENTS = {
    "load": measure_load,
    "steps": measure_steps,
    "queries": measure_queries,
    "large": measure_large,
    "long": measure_long,
}


def main() -> int:
    """Runs the measurements; returns the exit status."""
    parser = argparse.ArgumentParser(description="Speed and memory of webshop_env.")
    parser.add_argument("--data", help="folder of the official files (default: an invented shop of 1,000 products)")
    parser.add_argument("--large", action="store_true", help="also index 100,000 products (minutes)")
    parser.add_argument("--long", action="store_true", help="also play 100,000 episodes (minutes)")
    parser.add_argument("--only", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        print(json.dumps(MEASUREMENTS[chosen.only](chosen.data)), flush=True)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.data
        if folder is None:
            from webshop_env.generate import generate_files, write_files

            folder = scratch
            write_files(Path(scratch), generate_files(1000))
        from webshop_env import load_shop

        _ = load_shop(folder).search  # builds and caches what a first load has to build
        names = ["load", "steps", "queries", *(["large"] if chosen.large else []), *(["long"] if chosen.long else [])]
        for name in names:
            with tempfile.TemporaryDirectory() as own:
                data = own if name == "large" else folder
                subprocess.run([sys.executable, __file__, "--only", name, "--data", data], check=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
