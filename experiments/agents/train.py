"""Stage agents.train: reinforcement learning from the start policy, also in several processes (`accelerate launch`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encore import configuration, models, tracking
from encore.chat import chat_format
from encore.environments import load as load_tasks
from encore.policy import PolicySettings
from encore.training.agents import AgentRLSettings, Silent, agent_rl
from experiments.agents.settings import RUNS, cell, group
from experiments.options import arguments

PARAMS = [
    "profile",
    "tracking",
    "policy",
    "{environment}",
    "agents.tasks.{environment}",
    "agents.task_seed",
    "agents.rl.{environment}",
]


@contextlib.contextmanager
def recorded(**arguments: Any) -> Iterator[Any]:
    """The run, in the first of several processes; in the others its checkpoints without its records."""
    if int(os.environ.get("RANK", "0")) == 0:
        with tracking.start(**arguments) as run:
            yield run
        return
    silent = Silent()
    silent.checkpoints = Path(".encore/unused")  # type: ignore[attr-defined]  # only the first process writes
    yield silent


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment", "algorithm", "seed")
    name = options.environment
    params = configuration.read([key.format(environment=name) for key in PARAMS])
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    agents = params["agents"]
    section = {**agents["rl"][name], "algorithm": options.algorithm}
    settings = configuration.build(AgentRLSettings, section, f"agents.rl.{name}")
    start = RUNS / "start" / name / "model"
    with recorded(
        out=cell("train", name, options.algorithm, options.seed),
        stage="agents.train",
        experiment="agents",
        group=group(params["profile"], name, options.algorithm),
        seed=options.seed,
        params=params,
        inputs=[start],
    ) as run:
        tasks = load_tasks(name, params[name])
        games = tasks.demonstrations(agents["tasks"][name], agents["task_seed"])
        model, tokenizer = models.load(policy, source=start)
        trained, result = agent_rl(
            model,
            chat_format(tokenizer),
            games,
            tasks.environment,
            settings,
            max_steps=settings.max_steps or params[name]["max_steps"],
            max_length=policy.max_length,
            seed=options.seed,
            checkpoints=run.checkpoints,
            progress=run,
        )
        if isinstance(run, Silent):
            return
        run.dataset(f"{name}-rl-tasks", [tasks.describe(game) for game in games], source=name)
        trained.save_pretrained(run.out / "model")
        tokenizer.save_pretrained(run.out / "model")
        counted = run.costs.totals()
        run.count(
            flops=tracking.flops(trained.config, counted["tokens_trained"], training=True)
            + tracking.flops(trained.config, counted["tokens_generated"], training=False)
        )
        run.result({"iterations": result.iterations, "episodes": result.episodes, "last": result.last})


if __name__ == "__main__":
    main()
