"""Stages g2is.gradients (pool) and g2is.target_gradients (one target): projected LoRA gradients at each checkpoint.

Pool gradients are Adam's steps, target gradients plain ("to avoid momentum interference"): the mixture that G2IS and
LESS compare. The pool's part also holds the base's loss and last hidden state of every example, for rivals that use
those.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from encore import configuration, data, gradients, models, tracking
from encore.evaluation.answers import score_answers
from encore.policy import PolicySettings
from encore.trajectories import Example
from experiments.g2is.rows import tokenized
from experiments.g2is.settings import RUNS, GradientSettings
from experiments.g2is.warmup import checkpoints

PARAMS = ["profile", "tracking", "policy", "g2is.gradients"]


@tracking.stage_main
def main(target: str | None = None) -> None:
    params = configuration.read(PARAMS)
    policy = configuration.build(PolicySettings, params["policy"], "policy")
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
        model, tokenizer = models.load(policy)
        examples = tokenized(data.read_instructions(rows), data.instruction_format(tokenizer), policy.max_length)
        with run.phase("representations"):
            answers = score_answers(model, examples, max_tokens=settings.max_tokens, states=True)
        np.savez(run.out / "answers.npz", losses=answers.losses.numpy(), states=answers.states.numpy())
        stores = write_gradients(run, policy, examples, settings, pool=target is None)
        tokens = sum(map(len, examples))
        passes = len(stores)
        run.count(flops=tracking.flops(model.config, tokens, training=False))
        run.count(flops=passes * 2 / 3 * tracking.flops(model.config, tokens, training=True))
        size = sum(path.stat().st_size for path in run.out.rglob("*.safetensors"))
        run.result(
            {"examples": len(examples), "tokens": tokens, "stores": passes, "dim": settings.dim, "disk_bytes": size}
        )


def write_gradients(
    run: tracking.Run, policy: PolicySettings, examples: list[Example], settings: GradientSettings, *, pool: bool
) -> list[Path]:
    """A store for every checkpoint and kind of gradient, under `run.out`; returns their folders."""
    from peft import PeftModel

    raw = [(example.id, example.input_ids, example.response_mask) for example in examples]
    stores = []
    for number, (folder, _) in enumerate(checkpoints()):
        base, _ = models.load(policy)
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=True)
        for kind in settings.readings if pool else ["sgd"]:
            path = run.checkpoints / kind / f"checkpoint-{number}"  # a killed run goes on with its whole shards
            with run.phase("gradients"):
                gradients.write_features(
                    path,
                    model,
                    raw,
                    gradients.Sparse(settings.dim, settings.seed),
                    folder / "optimizer.pt" if pool else None,
                    kind if pool else "less_code",  # type: ignore[arg-type]
                    rows_per_shard=settings.rows_per_shard,
                    max_tokens=settings.max_tokens,
                )
                gradients.merge(path, [name for name, _, _ in raw])
            stores.append(path)
    moved = []
    for path in stores:
        target = run.out / path.relative_to(run.checkpoints)
        target.parent.mkdir(parents=True, exist_ok=True)
        moved.append(path.rename(target))
    return moved


def stores(part: str, kind: str) -> list[gradients.Store]:
    """The stores of `pool` or a target, one a checkpoint; empty where that kind was not made."""
    folders = sorted(
        (RUNS / "gradients" / part / kind).glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])
    )
    return [gradients.Store.open(folder) for folder in folders]


if __name__ == "__main__":
    main()
