"""Stage prism.pass_rates: how often the frozen base wins the task of each demonstration, in sampled episodes.

The arm `hpt` routes by it. Source: Lv et al. 2025 (arXiv 2509.04419): the share of a prompt's rollouts that succeed.
"""

from __future__ import annotations

import numpy as np

from encore import configuration, tracking
from encore.environments import load as load_tasks
from encore.policy import PolicySettings
from encore.trajectories import read_jsonl
from experiments import warm
from experiments.options import arguments
from experiments.prism.settings import RUNS, PassRateSettings, settings
from experiments.prism.tasks import tasks_of

PARAMS = ["profile", "tracking", "policy", "{environment}", "prism.demonstration_seed", "prism.pass_rates"]


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment")
    name, prism = options.environment, settings()
    params = configuration.read([key.format(environment=name) for key in PARAMS])
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    asked = configuration.build(PassRateSettings, params["prism"]["pass_rates"], "prism.pass_rates")
    demos = RUNS / "demos" / name / "demos.jsonl"
    with tracking.start(
        out=RUNS / "pass_rates" / name,
        stage="prism.pass_rates",
        experiment="prism",
        seed=prism.demonstration_seed,
        params=params,
        inputs=[demos, *policy.files()],
    ) as run:
        run.tag({"environment": name})
        ids = [trajectory.id for trajectory in read_jsonl(demos)]
        tasks = load_tasks(name, params[name])
        chosen = tasks_of(tasks, params[name]["demonstrations"], prism.demonstration_seed, ids)
        won, rewards = np.zeros((len(ids), asked.rollouts)), np.zeros((len(ids), asked.rollouts))
        if asked.rollouts:
            from encore import models, rollout  # only now: without rollouts the stage is done in a second
            from encore.chat import chat_format

            model, tokenizer = models.load(policy)
            limit = params[name]["max_steps"]
            with run.phase("pass_rates"):
                episodes = rollout.collect(
                    rollout.TransformersPolicy(model, chat_format(tokenizer)),
                    [tasks.environment(task) for task in chosen for _ in range(asked.rollouts)],
                    max_steps=limit if asked.max_steps is None else min(limit, asked.max_steps),
                    max_length=policy.max_length,
                    max_action_tokens=asked.max_action_tokens,
                    temperature=asked.temperature,
                    seed=prism.demonstration_seed,
                    batch_size=asked.batch_size,
                    max_error_share=asked.max_error_share,
                )
            won[:] = np.array([episode.won for episode in episodes]).reshape(won.shape)
            rewards[:] = np.array([sum(episode.rewards) for episode in episodes]).reshape(won.shape)
            generated = sum(episode.tokens_generated for episode in episodes)
            run.count(
                tokens_generated=generated,
                environment_steps=sum(episode.steps for episode in episodes),
                flops=tracking.flops(model.config, generated, training=False),
            )
            run.result(
                {
                    "pass_rate": float(won.mean()),
                    "reward": float(rewards.mean()),
                    "never_won": float((won.sum(1) == 0).mean()),
                    "always_won": float((won.sum(1) == asked.rollouts).mean()),
                }
            )
        np.savez(run.out / "pass_rates.npz", ids=np.array(ids), won=won, rewards=rewards)
        run.result({"tasks": len(ids), "rollouts": asked.rollouts})


if __name__ == "__main__":
    warm.delegate("experiments.prism.pass_rates")
    main()
