"""Stage g2is.train: fine-tunes the base on what one method chose, and tests it; all its targets, fractions and seeds.

Training and test share a process, because starting one takes longer than either at laptop scale; weights are kept only
if `g2is.keep_models` says so. Two cells that chose the same examples under the same seed (`random` and `full`, which
do not look at the target) are trained once and tested on each target. A run that is there already is not made again,
so a stage that was killed goes on with the first cell that is missing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from encore import configuration, data, models, tracking
from encore.policy import PolicySettings
from encore.tracking.files import read_yaml
from encore.training import SFTSettings
from experiments.g2is import evaluate
from experiments.g2is.rows import tokenized
from experiments.g2is.select import read_selection
from experiments.g2is.settings import RUNS, Cell, group, settings
from experiments.options import arguments

PARAMS = [
    "profile",
    "tracking",
    "policy",
    "g2is.sft",
    "g2is.evaluate",
    "g2is.targets",
    "g2is.fractions",
    "g2is.curve",
    "g2is.curve_methods",
    "g2is.multi_target",
    "g2is.multi_target_methods",
    "g2is.seeds",
    "g2is.variants",
    "g2is.workers",
    "g2is.keep_models",
]
CELL_PARAMS = ("profile", "tracking", "policy")
"""What a cell's own run depends on beside `g2is.sft`: the rest says which cells there are."""


@tracking.stage_main
def main() -> None:
    method = arguments(__doc__, "method").method
    g2is = settings()
    together: dict[tuple[int, ...], list[Cell]] = {}
    for one in g2is.cells(method):
        chosen = read_selection(one)
        if "skipped" in chosen:
            one.out.mkdir(parents=True, exist_ok=True)
            (one.out / "skipped.json").write_text(json.dumps(chosen))
            print(f"g2is.train: {method} was not run on {one.target}: it {chosen['skipped']}")
            continue
        indices = [pick["index"] for pick in chosen["picks"]]
        together.setdefault((one.seed, *indices), []).append(one)
    shares = [list(together.values())[worker :: g2is.workers] for worker in range(g2is.workers)]
    shares = [share for share in shares if share]
    if len(shares) <= 1 or torch.cuda.is_available():
        _work([cells for share in shares for cells in share])
        return
    from encore.training import sft  # noqa: F401  # what is imported before the fork is not imported by each child

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_child, args=(share, os.getpid())) for share in shares]
    try:
        for child in children:
            child.start()
        for child in children:
            child.join()
    finally:  # of a stage that is stopped: it would wait for them
        for child in children:
            if child.is_alive():
                child.terminate()
    failed = [child.exitcode for child in children if child.exitcode]
    if failed:
        raise SystemExit(abs(failed[0]))  # the child has said why


@tracking.stage_main
def _child(share: Sequence[Sequence[Cell]], parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    _work(share)


def _end_with(parent: int) -> None:
    """Ends this process when its parent is gone: a killed stage must not go on training in the background."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _work(share: Sequence[Sequence[Cell]]) -> None:
    read = configuration.read(PARAMS)
    g2is = settings()
    params = {
        **{key: read[key] for key in CELL_PARAMS},
        "g2is": {key: read["g2is"][key] for key in ("sft", "evaluate")},
    }
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    pool = data.read_instructions(RUNS / "data" / "pool.jsonl")
    for cells in share:
        trained: Trained | None = None
        for one in cells:
            tested = g2is.tested(one.target)
            run = tracking.start(
                out=one.out,
                stage="g2is.train",
                experiment="g2is",
                group=group(params["profile"], one.target, one.method),
                seed=one.seed,
                params={**params, "fraction": one.fraction},
                inputs=[
                    one.selection,
                    RUNS / "data" / "pool.jsonl",
                    *(RUNS / "data" / target for target in tested),
                    *policy.files(),
                    *code(),
                ],
            )
            if _finished(one.out, run.inputs_hash):
                continue
            with run:
                run.tag({"target": one.target, "fraction": one.fraction})
                chosen = [pool[pick["index"]] for pick in read_selection(one)["picks"]]
                if trained is None:
                    trained = train(run, policy, g2is.sft, chosen, one.seed, g2is.keep_models)
                evaluate.evaluate(run, tested, trained.model, trained.tokenizer, g2is.evaluate, policy.max_length)
                run.result(trained.facts | {"shared_training": trained.used > 0})
                trained.used += 1


def code() -> list[Path]:
    """The modules that a cell's result follows from: after an edit of theirs a finished cell is made again."""
    from encore.evaluation import answers
    from encore.training import supervised

    files = [__file__, *(module.__file__ for module in (evaluate, answers, supervised))]
    return [Path(os.path.relpath(file)) for file in files if file]


def _finished(out: Path, inputs_hash: str) -> bool:
    path = out / "run.yaml"
    return path.is_file() and read_yaml(path)["inputs_hash"] == inputs_hash


@dataclass
class Trained:
    """A model and what its training took; `used` counts the cells that were tested with it."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    facts: dict[str, Any]
    used: int = 0


def train(
    run: tracking.Run,
    policy: PolicySettings,
    settings: SFTSettings,
    chosen: list[data.Instruction],
    seed: int,
    keep: bool,
) -> Trained:
    """The base fine-tuned on `chosen`; with none, the base itself."""
    from encore.training import sft

    torch.manual_seed(seed)
    model, tokenizer = models.load(policy)
    facts: dict[str, Any] = {"examples": len(chosen), "steps": 0, "tokens": 0, "train_wall_s": 0.0}
    if not chosen:
        return Trained(model, tokenizer, facts)
    examples = tokenized(chosen, data.instruction_format(tokenizer), policy.max_length)
    with run.phase("sft"):
        model, result = sft(
            model,
            tokenizer,
            examples,
            settings,
            seed=seed,
            checkpoints=run.checkpoints,
            progress=run,
        )
    run.count(tokens_trained=result.tokens, flops=tracking.flops(model.config, result.tokens, training=True))
    if keep:
        model.save_pretrained(run.out / "model")
        tokenizer.save_pretrained(run.out / "model")
    wall_s = run.costs.totals()["phases"]["sft"]["wall_s"]
    facts |= {"steps": result.steps, "tokens": result.tokens, "loss": result.final_loss, "train_wall_s": wall_s}
    return Trained(model, tokenizer, facts)


if __name__ == "__main__":
    main()
