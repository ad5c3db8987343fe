"""The fast ALFWorld engine beside TextWorld, on the same games and commands, in one process.

    python benchmarks/alfworld_engine.py [--data ALFWORLD_DATA] [--games 5] [--steps 30]

Measures steps a second with the admissible commands asked for at each step, the time from a game's text to its first
observation, and the memory of a running game. Times are CPU times: on a busy machine the seconds of the reference would
be stretched more than the milliseconds of the fast engine. Exits with 1 if a target is missed. Needs the extra
`textworld`.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import sys
import time
import tracemalloc
from pathlib import Path

from alfworld_env import AlfworldEnv, Game, generate_games, load_games, plan
from alfworld_env.problem import parse_problem
from alfworld_env.reference import MissingTextWorld

MIN_STEP_RATIO = 1000
MIN_LOAD_RATIO = 100
MAX_MEMORY_MB = 1.0
REPEATS = 51  # of the fast engine: one pass takes about a millisecond


def walk(game: Game, steps: int) -> list[str]:
    """A way to the win between random commands, so that all kinds of commands and states occur."""
    rng, env = random.Random(game.id), AlfworldEnv(game)
    commands = []
    for _ in range(steps):
        wish = (plan(env) or env.admissible) if rng.random() < 0.5 else env.admissible
        commands.append(wish[0] if wish is not env.admissible and rng.random() < 0.7 else rng.choice(wish))
        env.step(commands[-1])
    return commands


def start(game: Game, engine: str) -> tuple[AlfworldEnv, float]:
    """The environment at its first observation, and the CPU seconds it took from the game's text."""
    parse_problem.cache_clear()
    begin = time.process_time()
    env = AlfworldEnv(game, engine=engine)
    if engine == "fast":
        env.reset()  # the reference resets as it loads
    return env, time.process_time() - begin


def steps_per_s(env: AlfworldEnv, commands: list[str]) -> float:
    begin = time.process_time()
    for command in commands:
        env.step(command)
        assert env.admissible
    return len(commands) / (time.process_time() - begin)


def memory_mb(games: list[Game]) -> float:
    """Megabytes of one running game: its parsed problem, its engine and its lists, without the problem's text."""
    parse_problem.cache_clear()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    running = [AlfworldEnv(game) for game in games]
    for env, game in zip(running, games, strict=True):
        for command in walk(game, 30):
            env.step(command)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / len(running) / 1e6


def machine() -> str:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="official games (the folder of ALFWORLD_DATA) instead of generated ones")
    parser.add_argument("--games", type=int, default=5, help="number of games, medians are over them (default: 5)")
    parser.add_argument("--steps", type=int, default=30, help="steps of each game (default: 30)")
    arguments = parser.parse_args()
    if arguments.data:
        official = load_games(arguments.data, "valid_unseen")
        games = official[:: max(1, len(official) // arguments.games)][: arguments.games]
    else:
        games = generate_games(arguments.games, seed=0)

    speeds: dict[str, list[float]] = {"textworld": [], "fast": []}
    loads: dict[str, list[float]] = {"textworld": [], "fast": []}
    try:
        AlfworldEnv(games[0], engine="textworld")  # imports and compiles what the first use must
    except MissingTextWorld as error:
        print(f"alfworld_engine: {error}", file=sys.stderr)
        return 1
    for game in games:
        commands = walk(game, arguments.steps)
        reference, load_s = start(game, "textworld")
        loads["textworld"].append(load_s)
        speeds["textworld"].append(steps_per_s(reference, commands))
        loads["fast"].append(statistics.median(start(game, "fast")[1] for _ in range(REPEATS)))
        speeds["fast"].append(statistics.median(steps_per_s(start(game, "fast")[0], commands) for _ in range(REPEATS)))

    step_ratio = statistics.median(f / t for f, t in zip(speeds["fast"], speeds["textworld"], strict=True))
    load_ratio = statistics.median(t / f for f, t in zip(loads["fast"], loads["textworld"], strict=True))
    memory = memory_mb(games)
    median = {name: (statistics.median(speeds[name]), statistics.median(loads[name]) * 1e3) for name in speeds}
    rows = [
        ("steps/s", median["textworld"][0], median["fast"][0], f"{step_ratio:,.0f} x", f">= {MIN_STEP_RATIO:,} x"),
        ("load, ms", median["textworld"][1], median["fast"][1], f"{load_ratio:,.0f} x", f">= {MIN_LOAD_RATIO:,} x"),
    ]
    source = "official valid_unseen" if arguments.data else "generated"
    print(f"{len(games)} {source} games, {arguments.steps} steps each, admissible commands asked for at each step")
    print(machine())
    print(f"{'':<10}{'TextWorld':>12}{'fast':>12}{'ratio':>12}{'target':>14}")
    for name, textworld, fast, ratio, target in rows:
        print(f"{name:<10}{textworld:>12,.1f}{fast:>12,.1f}{ratio:>12}{target:>14}")
    print(f"{'MB a game':<10}{'':>12}{memory:>12.3f}{'':>12}{f'< {MAX_MEMORY_MB:g}':>14}")
    missed = step_ratio < MIN_STEP_RATIO or load_ratio < MIN_LOAD_RATIO or memory >= MAX_MEMORY_MB
    print("a target is missed" if missed else "all targets are met")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
