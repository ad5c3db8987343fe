"""Stage prism.demos: expert episodes of the training tasks, as trajectories with turns."""

from __future__ import annotations

from encore import configuration, tracking
from encore.environments import load as load_tasks
from encore.errors import UserError
from encore.trajectories import Trajectory, write_jsonl
from experiments.prism.settings import RUNS, arguments, settings

PARAMS = [
    "profile",
    "tracking",
    "{environment}.games",
    "{environment}.path",
    "{environment}.size",
    "{environment}.dialect",
    "{environment}.expert",
    "{environment}.demonstrations",
    "{environment}.seed",
    "prism.demonstration_seed",
]


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment")
    name, prism = options.environment, settings()
    params = configuration.read([key.format(environment=name) for key in PARAMS])
    tasks = load_tasks(name, params[name])
    with tracking.start(
        out=RUNS / "demos" / name,
        stage="prism.demos",
        experiment="prism",
        seed=prism.demonstration_seed,
        params=params,
        inputs=[],
    ) as run:
        run.tag({"environment": name})
        chosen = tasks.demonstrations(params[name]["demonstrations"], prism.demonstration_seed)
        trajectories, failed = [], []
        with run.phase("demonstrate"):
            for task in chosen:
                described = tasks.describe(task)
                environment = tasks.environment(task)
                observations, actions, won = [environment.reset()], [], False
                try:
                    plan = tasks.expert(task, prism.demonstration_seed)
                except ValueError:  # the expert does not win this game
                    plan = []
                for action in plan:
                    step = environment.step(action)
                    actions.append(action)
                    observations.append(step.observation)
                    won = step.won
                    if won:
                        break
                if not won:
                    failed.append(described["id"])
                    continue
                trajectories.append(
                    Trajectory(
                        id=described["id"],
                        environment=name,
                        task_type=described["task_type"],
                        goal=described["goal"],
                        observations=observations,
                        actions=actions,
                        won=won,
                        source=str(params[name]["expert"]),
                    )
                )
        if not trajectories:
            raise UserError(
                f"the expert won none of the {len(chosen)} training tasks of {name}: there is nothing to learn"
            )
        run.count(environment_steps=sum(len(trajectory.actions) for trajectory in trajectories))
        write_jsonl(run.out / "demos.jsonl", trajectories)
        run.dataset(f"{name}-demonstrations", run.out / "demos.jsonl", source=f"{name}: {params[name]['games']} games")
        run.result(
            {
                "demonstrations": len(trajectories),
                "expert_failures": len(failed),
                "steps_mean": sum(len(trajectory.actions) for trajectory in trajectories) / len(trajectories),
            }
        )


if __name__ == "__main__":
    main()
