"""Stage g2is.warmup: a short LoRA training on a random share of the pool; its checkpoints keep Adam's moments.

Source: LESS (arXiv 2402.04333), section 4.1, whose setting G2IS takes over. A checkpoint's weight is the
mean learning rate since the one before.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

from encore import configuration, data, tracking
from encore.training import SFTSettings
from experiments import warm
from experiments.g2is.forks import share_cores
from experiments.g2is.rows import tokenized
from experiments.g2is.settings import RUNS, WarmupSettings, policy_of

PARAMS = ["profile", "tracking", "policy", "g2is.policy", "g2is.warmup", "g2is.workers"]
KEPT = ("adapter_model.safetensors", "adapter_config.json", "optimizer.pt")


@tracking.stage_main
def main() -> None:
    import torch

    from encore import models
    from encore.selection import budget
    from encore.training import sft

    params = configuration.read(PARAMS)
    share_cores(params["g2is"].pop("workers"))
    policy = policy_of(params)
    warmup = configuration.build(WarmupSettings, params["g2is"]["warmup"], "g2is.warmup")
    pool = RUNS / "data" / "pool.jsonl"
    with tracking.start(
        out=RUNS / "warmup",
        stage="g2is.warmup",
        experiment="g2is",
        seed=warmup.seed,
        params=params,
        inputs=[pool, *policy.files()],
    ) as run:
        torch.manual_seed(warmup.seed)
        rows = data.read_instructions(pool)
        chosen = random.Random(warmup.seed).sample(rows, budget(len(rows), warmup.fraction))
        model, tokenizer = models.load(policy)
        chat = data.instruction_format(tokenizer)
        examples = tokenized(chosen, chat, policy.max_length)
        settings = with_checkpoints(warmup.sft, len(chosen), warmup.checkpoints)

        def keep(step: int, _: Any) -> bool:
            source, target = run.checkpoints / f"checkpoint-{step}", run.out / f"checkpoint-{step}"
            target.mkdir(exist_ok=True)
            for name in KEPT:
                shutil.copy2(source / name, target / name)
            return False

        with run.phase("warmup"):
            _, result = sft(
                model,
                tokenizer,
                examples,
                settings,
                seed=warmup.seed,
                checkpoints=run.checkpoints,
                progress=run,
                on_checkpoint=keep,
            )
        steps = sorted(int(path.name.rpartition("-")[2]) for path in run.out.glob("checkpoint-*"))
        weights = mean_learning_rates(settings, result.steps, steps)
        listed = [{"folder": f"checkpoint-{step}", "weight": w} for step, w in zip(steps, weights, strict=True)]
        (run.out / "checkpoints.json").write_text(json.dumps(listed, indent=1))
        run.count(tokens_trained=result.tokens, flops=tracking.flops(model.config, result.tokens, training=True))
        run.result(
            {"examples": len(chosen), "steps": result.steps, "checkpoints": len(steps), "loss": result.final_loss}
        )


def with_checkpoints(settings: SFTSettings, examples: int, number: int) -> SFTSettings:
    """The same training, with `number` checkpoints at equal distances, the last at its end."""
    steps = (
        settings.max_steps if settings.max_steps > 0 else round(settings.epochs * examples / settings.effective_batch)
    )
    return dataclasses.replace(settings, checkpoint_every=max(1, math.ceil(steps / number)))


def mean_learning_rates(settings: SFTSettings, total: int, checkpoints: list[int]) -> list[float]:
    """Mean learning rate of the steps up to each checkpoint since the one before: LESS's weights of checkpoints."""
    import torch
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.learning_rate)
    warmup = int(settings.warmup_share * total) if settings.warmup_share < 1 else int(settings.warmup_share)
    scheduler = get_scheduler(settings.schedule, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    rates = []
    for _ in range(total):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    starts = [0, *checkpoints[:-1]]
    return [
        sum(rates[start:end]) / (end - start) or settings.learning_rate * 1e-6
        for start, end in zip(starts, checkpoints, strict=True)
    ]


def checkpoints(folder: Path = RUNS / "warmup") -> list[tuple[Path, float]]:
    """Folder and weight of every checkpoint, in order of training."""
    listed = json.loads((folder / "checkpoints.json").read_text())
    return [(folder / entry["folder"], float(entry["weight"])) for entry in listed]


if __name__ == "__main__":
    warm.delegate("experiments.g2is.warmup")
    main()
