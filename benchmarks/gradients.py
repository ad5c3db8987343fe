"""Per-example gradients beside what one would run instead, in one process, as ratios.

    python benchmarks/gradients.py --models tiny --lengths 8-128 16-256 32-512 --slow-share 0.25

Rows of each table: (a) plain training, forward and backward on the same batches, no per-example work; (b) the loop of
LESS, one example at a time, with the dense projection of TRAK's BasicProjector (blocks of 128 columns made anew for
every 16 gradients), and, kinder than that, with the dense matrix kept in memory; (c) torch.func's vmap of grad; (d)
Bergson, dattri and TRAK where they are installed. gradients_rows.py says which rows there are, gradients_peers.py what
others do in them. All see the same examples, of lengths spread evenly on a log scale.

On a CPU the clock is the process's own (user and system time of all its threads), which other work on the machine
disturbs least; on a GPU it is the wall, after a synchronise. Methods take turns in every repeat, and a table gives the
median.
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
from pathlib import Path
from typing import Any

import gradients_peers as peers
import torch
from gradients_peers import Examples
from gradients_projections import projection_choice
from gradients_rows import Method, features_methods, norms_methods
from torch import nn

from encore.gradients.layout import BATCHING
from encore.gradients.store import Store

_KEYS = ["vocab_size", "hidden_size", "intermediate_size"]
_KEYS += ["num_hidden_layers", "num_attention_heads", "num_key_value_heads"]
SHAPES: dict[str, dict[str, int]] = {
    "tiny": dict(zip(_KEYS, (1024, 192, 512, 4, 6, 3), strict=True)),  # the shipped base: 2 M parameters
    # SmolLM2-135M's architecture; random weights, as a time does not depend on them
    "smollm2": dict(zip(_KEYS, (49152, 576, 1536, 30, 9, 3), strict=True)),
    "llama-1b": dict(zip(_KEYS, (32000, 2048, 8192, 16, 32, 8), strict=True)),
}


def build(name: str, device: str, dtype: torch.dtype) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[name], max_position_embeddings=2048, tie_word_embeddings=True, pad_token_id=0)
    return LlamaForCausalLM(config).to(device=device, dtype=dtype)


def with_adapter(model: nn.Module, rank: int) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_B" in parameter_name:
            nn.init.normal_(parameter, std=0.02)
    return adapted


def make_examples(n: int, vocabulary: int, shortest: int, longest: int) -> Examples:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.logspace(torch.tensor(shortest).log2(), torch.tensor(longest).log2(), n, base=2).int()
    examples: Examples = []
    for number, place in enumerate(torch.randperm(n, generator=generator).tolist()):
        length = int(lengths[place])
        response = torch.rand(length, generator=generator) < 0.35
        response[-1] = True
        examples.append((str(number), torch.randint(3, vocabulary, (length,), generator=generator), response))
    return examples


def clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(methods: list[Method], examples: Examples, device: str, repeats: int) -> list[dict[str, Any]]:
    """Median seconds for all examples, by method; methods take turns, after one untimed run each."""
    times: dict[str, list[float]] = {method.label: [] for method in methods}
    failed: dict[str, str] = {}
    peak: dict[str, float] = {}
    for repeat in range(repeats + 1):
        for method in methods:
            if method.label in failed or (method.once and repeat != 1):
                continue
            part = examples[: max(1, round(len(examples) * method.share))]
            share = sum(len(tokens) for _, tokens, _ in part) / sum(len(tokens) for _, tokens, _ in examples)
            if device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            start = clock(device)
            try:
                method.run(part)
            except Exception as error:  # whatever a peer does, the other rows are measured
                if method.label.startswith("encore"):
                    raise
                failed[method.label] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
                continue
            if repeat:
                times[method.label].append((clock(device) - start) / share)
            if device != "cpu":
                peak[method.label] = torch.cuda.max_memory_allocated() / 2**30
    rows = []
    for method in methods:
        taken = times[method.label]
        row: dict[str, Any] = {"method": method.label, "failed": failed.get(method.label), "share": method.share}
        if taken:
            row |= {"seconds": statistics.median(taken), "least": min(taken), "most": max(taken)}
            row["peak_gib"] = peak.get(method.label)
        rows.append(row)
    return rows


def store_speed(rows: int, dim: int) -> dict[str, float]:
    """Bytes a second (wall, flushed): float32 features into the store as fp16, and ready bytes onto the disk itself."""
    values = torch.randn(rows, dim)
    ids = [str(row) for row in range(rows)]
    content = os.urandom(rows * dim * 2)

    def plain(folder: Path) -> None:
        with (folder / "plain").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    writers: dict[str, Callable[[Path], None]] = {
        "disk": plain,
        "store": lambda folder: Store.create(folder, dim=dim).append(ids, values),
    }
    speeds: dict[str, list[float]] = {name: [] for name in writers}
    for _ in range(8):
        for name, write in writers.items():
            with tempfile.TemporaryDirectory(dir=".") as folder:
                start = time.perf_counter()
                write(Path(folder))
                speeds[name].append(len(content) / (time.perf_counter() - start))
    return {name: statistics.median(found[1:]) for name, found in speeds.items()}


def print_table(title: str, rows: list[dict[str, Any]], tokens: int, examples: int) -> None:
    print(f"\n### {title}: {examples} examples, {tokens} tokens\n")
    print("| method | s | range | examples/s | × (a) | × (b) | peak GiB |\n|---|---|---|---|---|---|---|")
    base = {
        mark: next((row["seconds"] for row in rows if row["method"].startswith(mark) and "seconds" in row), None)
        for mark in ("(a)", "(b)")
    }
    for row in rows:
        if "seconds" not in row:
            print(f"| {row['method']} | failed | {row['failed']} | | | | |")
            continue
        seconds, scaled = row["seconds"], "" if row["share"] == 1 else f" ({row['share']:.0%} sample)"
        against = " | ".join(f"{other / seconds:.2f}" if other else "" for other in base.values())
        peak = f"{row['peak_gib']:.2f}" if row["peak_gib"] is not None else ""
        spread = f"{row['least']:.2f} to {row['most']:.2f}"
        print(f"| {row['method']}{scaled} | {seconds:.2f} | {spread} | {examples / seconds:.2f} | {against} | {peak} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["tiny"], choices=list(SHAPES))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--examples", type=int, default=48)
    parser.add_argument("--lengths", nargs="+", default=["16-256"], help="tokens, such as 8-128 16-256")
    parser.add_argument("--skip", nargs="+", default=[], help="leave out rows whose label has one of these in it")
    parser.add_argument("--no-features", action="store_true", help="norms only, and no store")
    parser.add_argument("--max-tokens", type=int, default=None, help="of a batch, for all methods")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--dim", type=int, default=8192)
    parser.add_argument("--dense-gib", type=float, default=4.0, help="largest dense projection kept in memory")
    parser.add_argument("--slow-share", type=float, default=1.0, help="share of the examples that slow peers get")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--store-rows", type=int, default=16384)
    parser.add_argument("--json", type=Path, help="also write all numbers here")
    options = parser.parse_args()
    options.max_tokens = options.max_tokens or BATCHING[options.device].tokens
    torch.set_num_threads(options.threads)
    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    processor = torch.cuda.get_device_name() if options.device == "cuda" else cpu_name()
    print(
        f"{processor}, {options.threads} threads, {dtype}, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )
    record: dict[str, Any] = {"processor": processor, "options": {k: str(v) for k, v in vars(options).items()}}
    for name in options.models:
        for shortest, longest in (map(int, span.split("-")) for span in options.lengths):
            examples = make_examples(options.examples, SHAPES[name]["vocab_size"], shortest, longest)
            tokens = sum(len(one) for _, one, _ in examples)
            for kind, methods in (("norms", norms_methods), ("features", features_methods)):
                if kind == "features" and options.no_features:
                    continue
                model = build(name, options.device, dtype)
                if kind == "features":
                    model = with_adapter(model, options.rank)
                chosen = [
                    method
                    for method in methods(model, options, options.slow_share)
                    if not any(part in method.label for part in options.skip)
                ]
                rows = measure(chosen, examples, options.device, options.repeats)
                title = f"{kind}, {name}, {shortest} to {longest} tokens"
                print_table(title, rows, tokens, len(examples))
                record[title] = rows
                if kind == "features" and options.device == "cpu" and name == "tiny":
                    projection_choice(model, examples, options.dim)
    print()
    for peer in peers.PEERS:
        print(f"(d) {peer}: {peers.installed(peer) or peers.why_absent(peer)}")
    if not options.no_features:
        store_lines(record, options)
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))


def store_lines(record: dict[str, Any], options: argparse.Namespace) -> None:
    record["store"] = store_speed(options.store_rows, options.dim)
    for what, speed in record["store"].items():
        print(f"{what}: {speed / 1e6:.0f} MB/s ({speed / record['store']['disk']:.2f} of the disk)")


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    return f"{model}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
