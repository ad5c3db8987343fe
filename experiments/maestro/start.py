"""Stage maestro.start: the policy that every arm of a benchmark starts from.

A tiny base knows neither the benchmark's questions nor the tags of an answer, so it is fine-tuned on validation rows
first (`maestro.warmup`), which no arm trains on. With 0 examples the start is the base itself.
"""

from __future__ import annotations

import json
import os

from encore import configuration, tracking
from encore.benchmarks import read_items
from encore.errors import UserError
from encore.policy import PolicySettings
from experiments import warm
from experiments.maestro.settings import RUNS, settings
from experiments.options import arguments

PARAMS = ["profile", "tracking", "policy", "maestro.warmup"]
SEED = 0


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "benchmark")
    params = configuration.read(PARAMS)
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    warmup = settings().warmup
    rows = RUNS / "data" / options.benchmark / "validation.jsonl"
    with tracking.start(
        out=RUNS / "start" / options.benchmark,
        stage="maestro.start",
        experiment="maestro",
        seed=SEED,
        params=params,
        inputs=[rows, *policy.files()],
    ) as run:
        run.tag({"environment": options.benchmark})
        if warmup.examples == 0:
            (run.out / "policy.json").write_text(json.dumps({"source": policy.source}))
            run.result({"examples": 0})
            return
        import torch

        from encore import models
        from encore.training import sft
        from experiments.maestro.policies import supervised_examples

        items = read_items(rows)
        if len(items) < warmup.examples:
            raise UserError(
                f"maestro.warmup.examples is {warmup.examples}, and {options.benchmark} has {len(items)} validation "
                "rows: lower it, or raise maestro.benchmarks.validation"
            )
        torch.manual_seed(SEED)
        model, tokenizer = models.load(policy)
        examples = supervised_examples(items[: warmup.examples], tokenizer, policy.max_length)
        with run.phase("sft"):
            model, result = sft(
                model, tokenizer, examples, warmup.sft, seed=SEED, checkpoints=run.checkpoints, progress=run
            )
        run.count(tokens_trained=result.tokens, flops=tracking.flops(model.config, result.tokens, training=True))
        model.save_pretrained(run.out / "model")
        tokenizer.save_pretrained(run.out / "model")
        (run.out / "policy.json").write_text(json.dumps({"source": os.fspath(run.final / "model")}))
        run.result({"examples": result.examples, "steps": result.steps, "loss": result.final_loss})


if __name__ == "__main__":
    warm.delegate("experiments.maestro.start")
    main()
