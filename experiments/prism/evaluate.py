"""Stage prism.evaluate: the trained policy on every panel, every episode kept."""

from __future__ import annotations

import json

from encore import configuration, tracking
from encore.environments import load as load_tasks
from encore.evaluation import EvaluationSettings
from encore.policy import PolicySettings
from experiments import warm
from experiments.options import arguments
from experiments.prism.settings import cell, group, settings

PARAMS = [
    "profile",
    "tracking",
    "policy",
    "evaluation",
    "{environment}",
    "prism.panels.{environment}",
    "prism.max_steps.{environment}",
]


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment", "method", "seed")
    name = options.environment
    settings()  # all of the section is checked
    params = configuration.read([key.format(environment=name) for key in PARAMS])
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    evaluation = configuration.build(EvaluationSettings, params["evaluation"], "evaluation")
    limit = params["prism"]["max_steps"][name]
    section = {**params[name], "panels": params["prism"]["panels"][name]} | ({"max_steps": limit} if limit else {})
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
        made = json.loads((trained / "policy.json").read_text())
        if "not_run" in made:
            run.result(made)
            return
        from encore import models  # only now: a warm process has them already
        from encore.chat import chat_format
        from experiments.agents.play import play_panels

        model, tokenizer = models.load(policy, source=made["source"])
        # The section with its panels, so that a panel that the environment does not know is refused before the first.
        tasks = load_tasks(name, section)
        play_panels(
            run, model, chat_format(tokenizer), tasks, name, section, evaluation, policy.max_length, options.seed
        )


if __name__ == "__main__":
    warm.delegate("experiments.prism.evaluate")
    main()
