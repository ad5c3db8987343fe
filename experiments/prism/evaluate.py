"""Stage prism.evaluate: the trained policy on every panel, every episode kept."""

from __future__ import annotations

import json

from encore import configuration, models, tracking
from encore.chat import chat_format
from encore.environments import load as load_tasks
from encore.evaluation import EvaluationSettings, evaluate_panel, summarize
from encore.policy import PolicySettings
from encore.rollout import TransformersPolicy
from experiments.options import arguments
from experiments.prism.settings import cell, group

PARAMS = [
    "profile",
    "tracking",
    "policy",
    "evaluation",
    "{environment}.games",
    "{environment}.path",
    "{environment}.size",
    "{environment}.dialect",
    "{environment}.max_steps",
    "{environment}.panels",
    "{environment}.seed",
]


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment", "method", "seed")
    name = options.environment
    params = configuration.read([key.format(environment=name) for key in PARAMS])
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    settings = configuration.build(EvaluationSettings, params["evaluation"], "evaluation")
    trained = cell("train", name, options.method, options.seed)
    with tracking.start(
        out=cell("evaluate", name, options.method, options.seed),
        stage="prism.evaluate",
        experiment="prism",
        group=group(params["profile"], name, options.method),
        seed=options.seed,
        params=params,
        inputs=[path for path in (trained / "policy.json", trained / "model") if path.exists()],
        continues=trained,
    ) as run:
        model, tokenizer = models.load(policy, source=json.loads((trained / "policy.json").read_text())["source"])
        player = TransformersPolicy(model, chat_format(tokenizer))
        tasks = load_tasks(name, params[name])
        rows = []
        for panel, number in params[name]["panels"].items():
            games = tasks.panel(panel, number)
            run.dataset(
                f"{name}-{panel}",
                [tasks.describe(game) for game in games],
                source=params[name]["games"],
                context="test",
            )
            with run.phase("evaluate"):
                played = evaluate_panel(
                    player,
                    tasks,
                    panel,
                    games,
                    settings,
                    max_steps=params[name]["max_steps"],
                    max_length=policy.max_length,
                    seed=options.seed,
                )
            run.result({panel: summarize(played)})
            rows += played
        generated = sum(row["tokens_generated"] for row in rows)
        run.count(
            tokens_generated=generated,
            environment_steps=sum(row["steps"] for row in rows),
            flops=tracking.flops(model.config, generated, training=False),
        )
        run.table("episodes", rows)


if __name__ == "__main__":
    main()
