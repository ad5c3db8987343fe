"""Stage prism.train: SFT on the demonstrations that the split sent to SFT, then RL on the tasks that it sent to RL."""

from __future__ import annotations

import dataclasses
import json
import os

from encore import arbitration, configuration, launch, ranks, tracking
from encore.environments import load as load_tasks
from encore.errors import UserError
from encore.policy import PolicySettings
from encore.training import SFTSettings
from encore.training.agents import AgentRLSettings
from encore.trajectories import read_jsonl
from experiments import warm
from experiments.options import arguments
from experiments.prism.settings import RUNS, cell, group, routes_of, settings
from experiments.prism.tasks import tasks_of

PARAMS = [
    "profile",
    "tracking",
    "launch",
    "policy",
    "{environment}",
    "prism.demonstration_seed",
    "prism.sft",
    "prism.rl.{environment}",
]


def rl_settings(shared: AgentRLSettings, arm: arbitration.Arm, to_rl: int, demonstrations: int) -> AgentRLSettings:
    """The shared recipe for one arm: its algorithm, and the iterations that its share of the tasks gives it.

    HPT is without KL and without division by the group's deviation. Raises UserError if an iteration needs more tasks
    than the arm has.
    """
    if shared.tasks_per_iteration > to_rl:
        raise UserError(
            f"an iteration of RL plays {shared.tasks_per_iteration} tasks, and '{arm.name}' sends {to_rl} of "
            f"{demonstrations} to RL: lower prism.rl.*.tasks_per_iteration, or raise the environment's demonstrations"
        )
    iterations = arm.iterations(shared.iterations, arbitration.Split(rl=list(range(to_rl))), demonstrations)
    own = dataclasses.replace(shared, algorithm=arm.algorithm, iterations=iterations)
    if arm.algorithm == "hpt":  # as published (see encore.training.agents.hpt)
        own = dataclasses.replace(own, kl=0.0, scale_advantages=False)
    return own


@tracking.stage_main
@launch.reported()
def main() -> None:
    options = arguments(__doc__, "environment", "method", "seed")
    name, prism = options.environment, settings()
    params = configuration.read([key.format(environment=name) for key in PARAMS])
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    recipe = configuration.build(SFTSettings, params["prism"]["sft"], "prism.sft")
    shared = configuration.build(AgentRLSettings, params["prism"]["rl"][name], f"prism.rl.{name}")
    limit = params[name]["max_steps"]
    if shared.max_steps is not None and shared.max_steps > limit:
        raise UserError(
            f"prism.rl.{name}.max_steps is {shared.max_steps}, more than {name}.max_steps, which is {limit}: lower "
            "it, or set it to null"
        )
    arm = arbitration.arm(options.method)
    launching = configuration.build(launch.LaunchSettings, params.pop("launch"), "launch")
    if launch.is_due(launching) and options.method != "base":
        launch.restart("experiments.prism.train", launching, policy.device)
        return
    demos = RUNS / "demos" / name / "demos.jsonl"
    split = routes_of(name, options.method, options.seed)
    with ranks.start(
        out=cell("train", name, options.method, options.seed),
        stage="prism.train",
        experiment="prism",
        group=group(params["profile"], name, options.method),
        seed=options.seed,
        params=params,
        inputs=[demos, split, *policy.files()],
    ) as run:
        trajectories = read_jsonl(demos)
        routes = json.loads(split.read_text())
        if "not_run" in routes:
            if ranks.is_first():
                (run.out / "policy.json").write_text(json.dumps(routes))
            run.result(routes)
            return
        to_sft, to_rl = set(routes["sft"]), routes["rl"]
        if to_rl:
            rl = rl_settings(shared, arm, len(to_rl), len(trajectories))
            tasks = load_tasks(name, params[name])
            chosen = tasks_of(tasks, params[name]["demonstrations"], prism.demonstration_seed, to_rl)
        if not to_sft and not to_rl:
            # The untrained base is an arm like the others; its policy is the base itself.
            if ranks.is_first():
                (run.out / "policy.json").write_text(json.dumps({"source": policy.source}))
            run.result({"examples": 0, "steps": 0})
            return
        from experiments.prism import halves  # only now: an arm that trains nothing is done in a second

        rows = [{"id": trajectory.id} for trajectory in trajectories if trajectory.id in to_sft]
        if to_sft:
            run.dataset(f"{name}-{options.method}-sft", rows, source=str(split))
            imitated = [trajectory for trajectory in trajectories if trajectory.id in to_sft]
            trained = halves.imitate(run, policy, imitated, recipe, options.seed)
        else:
            trained = halves.base(policy)
        if to_rl:
            run.dataset(f"{name}-{options.method}-rl", [tasks.describe(task) for task in chosen], source=str(split))
            shown = {trajectory.id: trajectory for trajectory in trajectories}
            trained = halves.explore(
                run,
                trained,
                tasks,
                chosen,
                rl,
                max_steps=rl.max_steps or limit,
                max_length=policy.max_length,
                seed=options.seed,
                demonstration=(lambda task: shown[tasks.describe(task)["id"]]) if arm.algorithm == "hpt" else None,
            )
        if ranks.is_first():
            (run.out / "policy.json").write_text(json.dumps({"source": os.fspath(halves.save(run, trained))}))


if __name__ == "__main__":
    warm.delegate("experiments.prism.train")
    main()
