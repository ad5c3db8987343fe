"""Stage agents.evaluate: the trained agent on every panel, greedy, every episode kept."""

from __future__ import annotations

from encore import configuration, models, tracking
from encore.chat import chat_format
from encore.environments import load as load_tasks
from encore.evaluation import EvaluationSettings
from encore.policy import PolicySettings
from experiments.agents.play import play_panels
from experiments.agents.settings import cell, group
from experiments.options import arguments

PARAMS = ["profile", "tracking", "policy", "evaluation", "{environment}"]


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment", "algorithm", "seed")
    name = options.environment
    params = configuration.read([key.format(environment=name) for key in PARAMS])
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    evaluation = configuration.build(EvaluationSettings, params["evaluation"], "evaluation")
    trained = cell("train", name, options.algorithm, options.seed)
    with tracking.start(
        out=cell("evaluate", name, options.algorithm, options.seed),
        stage="agents.evaluate",
        experiment="agents",
        group=group(params["profile"], name, options.algorithm),
        seed=options.seed,
        params=params,
        inputs=[trained / "model"],
        continues=trained,
    ) as run:
        model, tokenizer = models.load(policy, source=trained / "model")
        tasks = load_tasks(name, params[name])
        play_panels(
            run, model, chat_format(tokenizer), tasks, name, params[name], evaluation, policy.max_length, options.seed
        )


if __name__ == "__main__":
    main()
