"""Stage prism.train: fine-tunes the base on the demonstrations that the split sent to SFT."""

from __future__ import annotations

import json
import os

from encore import configuration, tracking
from encore.chat import chat_format
from encore.policy import PolicySettings
from encore.training import SFTSettings
from encore.trajectories import read_jsonl, tokenize
from experiments.options import arguments
from experiments.prism.settings import RUNS, cell, group

PARAMS = ["profile", "tracking", "policy", "prism.sft"]


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment", "method", "seed")
    params = configuration.read(PARAMS)
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    settings = configuration.build(SFTSettings, params["prism"]["sft"], "prism.sft")
    demos = RUNS / "demos" / options.environment / "demos.jsonl"
    split = cell("split", options.environment, options.method, options.seed) / "split.json"
    with tracking.start(
        out=cell("train", options.environment, options.method, options.seed),
        stage="prism.train",
        experiment="prism",
        group=group(params["profile"], options.environment, options.method),
        seed=options.seed,
        params=params,
        inputs=[demos, split, *policy.files()],
    ) as run:
        chosen = set(json.loads(split.read_text())["sft"])
        if not chosen:
            # The untrained base is an arm like the others; its policy is the base itself.
            (run.out / "policy.json").write_text(json.dumps({"source": policy.source}))
            run.result({"examples": 0, "steps": 0})
            return
        import torch  # only now: an arm that trains nothing is done in a second

        from encore import models
        from encore.training import sft

        torch.manual_seed(options.seed)
        model, tokenizer = models.load(policy)
        chat = chat_format(tokenizer)
        trajectories = [trajectory for trajectory in read_jsonl(demos) if trajectory.id in chosen]
        examples = [tokenize(trajectory, chat, policy.max_length) for trajectory in trajectories]
        run.dataset(
            f"{options.environment}-{options.method}-sft",
            [{"id": example.id} for example in examples],
            source=str(split),
        )
        with run.phase("sft"):
            model, result = sft(
                model,
                tokenizer,
                examples,
                settings,
                seed=options.seed,
                checkpoints=run.checkpoints,
                progress=run,
            )
        run.count(tokens_trained=result.tokens, flops=tracking.flops(model.config, result.tokens, training=True))
        model.save_pretrained(run.out / "model")
        tokenizer.save_pretrained(run.out / "model")
        (run.out / "policy.json").write_text(json.dumps({"source": os.fspath(run.final / "model")}))
        run.result(
            {
                "examples": len(examples),
                "steps": result.steps,
                "tokens": result.tokens,
                "response_tokens": result.response_tokens,
                "padding_share": result.padding_share,
                "loss": result.final_loss,
            }
        )


if __name__ == "__main__":
    main()
