"""Stage prism.demos: expert episodes of the training tasks, as trajectories with turns."""

from __future__ import annotations

from encore import configuration, tracking
from encore.demonstrations import demonstrate
from encore.environments import load as load_tasks
from encore.trajectories import write_jsonl
from experiments import warm
from experiments.options import arguments
from experiments.prism.settings import RUNS, settings

PARAMS = ["profile", "tracking", "{environment}", "prism.demonstration_seed"]


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
        with run.phase("demonstrate"):
            trajectories, failed = demonstrate(tasks, name, chosen, prism.demonstration_seed, "expert")
        run.count(environment_steps=sum(len(trajectory.actions) for trajectory in trajectories))
        write_jsonl(run.out / "demos.jsonl", trajectories)
        run.dataset(f"{name}-demonstrations", run.out / "demos.jsonl", source=f"{name}: expert episodes")
        run.result(
            {
                "demonstrations": len(trajectories),
                "expert_failures": len(failed),
                "steps_mean": sum(len(trajectory.actions) for trajectory in trajectories) / len(trajectories),
            }
        )


if __name__ == "__main__":
    warm.delegate("experiments.prism.demos")
    main()
