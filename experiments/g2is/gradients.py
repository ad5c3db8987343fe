"""Stages g2is.gradients (pool) and g2is.target_gradients (one target): projected LoRA gradients at each checkpoint.

Pool gradients are Adam's steps, target gradients plain ("to avoid momentum interference"): the mixture that G2IS and
LESS compare. The pool's part also holds the base's loss and last hidden state of every example, for rivals that use
those.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encore import configuration, data, tracking
from experiments import warm
from experiments.g2is.forks import share_cores, side_by_side
from experiments.g2is.rows import tokenized
from experiments.g2is.settings import RUNS, GradientSettings, policy_of
from experiments.g2is.warmup import checkpoints

if TYPE_CHECKING:
    from encore.gradients import Store
    from encore.policy import PolicySettings
    from encore.trajectories import Example

PARAMS = ["profile", "tracking", "policy", "g2is.policy", "g2is.gradients", "g2is.workers"]


@tracking.stage_main
def main(target: str | None = None) -> None:
    from encore import models

    params = configuration.read(PARAMS)
    policy = policy_of(params)
    workers = params["g2is"].pop("workers")
    if target is not None:  # it has few rows
        share_cores(workers)
        workers = 1
    settings = configuration.build(GradientSettings, params["g2is"]["gradients"], "g2is.gradients")
    rows = RUNS / "data" / ("pool.jsonl" if target is None else f"{target}/validation.jsonl")
    with tracking.start(
        out=RUNS / "gradients" / (target or "pool"),
        stage="g2is.gradients" if target is None else "g2is.target_gradients",
        experiment="g2is",
        seed=settings.seed,
        params=params,
        inputs=[rows, RUNS / "warmup" / "checkpoints.json", *(path for path, _ in checkpoints()), *policy.files()],
    ) as run:
        if target is not None:
            run.tag({"target": target})
        chat = data.instruction_format(models.load_tokenizer(policy))
        examples = tokenized(data.read_instructions(rows), chat, policy.max_length)
        every = np.arange(len(checkpoints()))
        processes = min(workers, len(every), len(examples))
        places = np.array_split(np.arange(len(examples)), processes)
        parts = [(run.checkpoints / f"answers-{number}.npz", part) for number, part in enumerate(places)]
        with run.phase("representations"):
            side_by_side(partial(write_answers, policy, examples, settings.max_tokens), parts)
        answers = [np.load(path) for path, _ in parts]
        joined = {name: np.concatenate([one[name] for one in answers]) for name in ("losses", "states")}
        np.savez(run.out / "answers.npz", losses=joined["losses"], states=joined["states"])
        shares = np.array_split(every, processes)
        with run.phase("gradients"):
            side_by_side(partial(write_gradients, run.checkpoints, policy, examples, settings, target is None), shares)
        kinds = settings.readings if target is None else ["sgd"]
        for kind in kinds:
            (run.checkpoints / kind).rename(run.out / kind)
        made = len(kinds) * len(every)
        flops = sum(float(one["flops"]) for one in answers)
        run.count(flops=flops + made * 2 * flops)  # backward through the frozen base costs as much as forward
        size = sum(path.stat().st_size for path in run.out.rglob("*.safetensors"))
        run.result(
            {"examples": len(examples), "tokens": sum(map(len, examples)), "stores": made, "processes": processes}
        )
        run.result({"dim": settings.dim, "disk_bytes": size})


def write_answers(
    policy: PolicySettings, examples: Sequence[Example], max_tokens: int, share: tuple[Path, np.ndarray]
) -> None:
    """The base's loss and last hidden state of the examples at some places, as an NPZ file; and what they cost."""
    from encore import models
    from encore.evaluation.answers import score_answers

    path, places = share
    model, _ = models.load(policy)
    own = [examples[place] for place in places]
    found = score_answers(model, own, max_tokens=max_tokens, states=True)
    flops = tracking.flops(model.config, sum(map(len, own)), training=False)
    np.savez(path, losses=found.losses.numpy(), states=found.states.numpy(), flops=flops)


def write_gradients(
    folder: Path,
    policy: PolicySettings,
    examples: Sequence[Example],
    settings: GradientSettings,
    pool: bool,
    numbers: Sequence[int],
) -> None:
    """A store for each kind of gradient at some of the warmup's checkpoints, under `folder`."""
    from peft import PeftModel

    from encore import gradients, models

    raw = [(example.id, example.input_ids, example.response_mask) for example in examples]
    for number in numbers:
        checkpoint, _ = checkpoints()[number]
        base, _ = models.load(policy)
        model = PeftModel.from_pretrained(base, str(checkpoint), is_trainable=True)
        for kind in settings.readings if pool else ["sgd"]:
            path = folder / kind / f"checkpoint-{number}"  # a killed run goes on with its whole shards
            gradients.write_features(
                path,
                model,
                raw,
                gradients.Sparse(settings.dim, settings.seed),
                checkpoint / "optimizer.pt" if pool else None,
                kind if pool else "less_code",  # type: ignore[arg-type]
                rows_per_shard=settings.rows_per_shard,
                max_tokens=settings.max_tokens,
            )
            gradients.merge(path, [name for name, _, _ in raw])


def stores(part: str, kind: str) -> list[Store]:
    """The stores of `pool` or a target, one a checkpoint; empty where that kind was not made."""
    from encore.gradients import Store

    folders = sorted(
        (RUNS / "gradients" / part / kind).glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])
    )
    return [Store.open(folder) for folder in folders]


if __name__ == "__main__":
    warm.delegate("experiments.g2is.gradients")
    main()
