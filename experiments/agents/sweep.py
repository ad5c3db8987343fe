"""Stage agents.sweep: short trainings with one setting changed at a time, judged by greedy development tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from encore import configuration, models, tracking
from encore.chat import ChatFormat, chat_format
from encore.environments import Tasks
from encore.environments import load as load_tasks
from encore.evaluation import EvaluationSettings, evaluate_panel
from encore.policy import PolicySettings
from encore.rollout import TransformersPolicy
from encore.training.agents import AgentRLSettings, CollapseError, agent_rl
from experiments.agents.settings import RUNS, SweepSettings, group
from experiments.options import arguments

PARAMS = [
    "profile",
    "tracking",
    "policy",
    "evaluation",
    "{environment}",
    "agents.tasks.{environment}",
    "agents.task_seed",
    "agents.rl.{environment}",
    "agents.sweep",
]


class Trial:
    """Progress of one trial in a run that holds them all: curves under the trial's name, checkpoints not kept."""

    checkpoint: str | None = None

    def __init__(self, run: tracking.Run, name: str) -> None:
        self.run, self.name = run, name
        self.curves: list[dict[str, float]] = []

    def curve(self, values: Mapping[str, float], step: int) -> None:
        self.curves.append({"iteration": step, **values})
        self.run.curve({f"{self.name}/{key}": value for key, value in values.items()}, step=step)

    def commit(self, checkpoint: str | None = None) -> None:
        pass

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self.run.phase(name)

    def count(self, **counters: float) -> None:
        self.run.count(**counters)


def title(changes: Mapping[str, Any]) -> str:
    """A trial's name: what it changes."""
    return " ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in changes.items()
    )


def judge(
    model: PreTrainedModel,
    chat: ChatFormat,
    tasks: Tasks,
    number: int,
    section: Mapping[str, Any],
    settings: EvaluationSettings,
    max_length: int,
) -> dict[str, float]:
    """Shares of development tasks won and of actions that were invalid, and the mean reward, all greedy."""
    played = evaluate_panel(
        TransformersPolicy(model, chat),
        tasks,
        "dev",
        tasks.panel("dev", number),
        settings,
        max_steps=section["max_steps"],
        max_length=max_length,
        seed=0,
    )
    return {
        "success": sum(bool(row["won"]) for row in played) / len(played),
        "score": sum(float(row["reward"]) for row in played) / len(played),
        "invalid_share": sum(row["invalid_actions"] for row in played) / max(1, sum(row["steps"] for row in played)),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table for people."""
    lines = [
        "| changed | iterations | success % | score % | invalid actions % | entropy, nats | s | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shown = [f"{100 * row[key]:.1f}" if key in row else "" for key in ("success", "score", "invalid_share")]
        entropy = f"{row['entropy']:.2f}" if "entropy" in row else ""
        lines.append(
            f"| {row['trial']} | {row['iterations']} | {' | '.join(shown)} | {entropy} | {row['wall_s']:.0f} | "
            f"{row.get('stopped', '')} |"
        )
    return "\n".join(lines) + "\n"


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment")
    name = options.environment
    params = configuration.read([key.format(environment=name) for key in PARAMS])
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    evaluation = configuration.build(EvaluationSettings, params["evaluation"], "evaluation")
    agents = params["agents"]
    sweep = configuration.build(SweepSettings, agents["sweep"], "agents.sweep")
    chosen = agents["rl"][name]
    settings = [  # checked before the first is run
        configuration.build(
            AgentRLSettings, {**chosen, **changes, "iterations": sweep.iterations}, "agents.sweep.trials"
        )
        for changes in sweep.trials
    ]
    start = RUNS / "start" / name / "model"
    with tracking.start(
        out=RUNS / "sweep" / name,
        stage="agents.sweep",
        experiment="agents",
        group=group(params["profile"], name, "sweep"),
        seed=0,
        params=params,
        inputs=[start],
    ) as run:
        tasks = load_tasks(name, params[name])
        games = tasks.demonstrations(agents["tasks"][name], agents["task_seed"])

        def judged(model: PreTrainedModel, chat: ChatFormat) -> dict[str, float]:
            with run.phase("evaluate"):
                return judge(model, chat, tasks, sweep.tasks, params[name], evaluation, policy.max_length)

        def trial(number: int, changes: Mapping[str, Any]) -> dict[str, Any]:
            model, tokenizer = models.load(policy, source=start)
            chat = chat_format(tokenizer)
            began = run.costs.totals()["wall_s"]
            progress = Trial(run, f"trial_{number}")
            row: dict[str, Any] = {"trial": title(changes) or "nothing", "changes": dict(changes)}
            try:
                model, _ = agent_rl(
                    model,
                    chat,
                    games,
                    tasks.environment,
                    settings[number],
                    max_steps=settings[number].max_steps or params[name]["max_steps"],
                    max_length=policy.max_length,
                    seed=0,
                    checkpoints=run.checkpoints / f"trial-{number}",
                    progress=progress,
                )
                row |= judged(model, chat)
            except CollapseError as error:
                row["stopped"] = str(error)
            last = progress.curves[-1]
            row |= {"iterations": last["iteration"], "entropy": last["rollout/entropy"], "curves": progress.curves}
            return row | {"wall_s": run.costs.totals()["wall_s"] - began}

        rows: list[dict[str, Any]] = []
        model, tokenizer = models.load(policy, source=start)
        rows.append({"trial": "the start", "iterations": 0, "wall_s": 0.0, **judged(model, chat_format(tokenizer))})
        for number, changes in enumerate(sweep.trials):
            done = run.checkpoints / f"trial-{number}.json"  # a cut sweep goes on with the next trial
            if not done.exists():
                made = trial(number, changes)
                _write(done, made)
                run.commit()
            rows.append(json.loads(done.read_text(encoding="utf-8")))
        (run.out / "trials.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        (run.out / "trials.md").write_text(markdown(rows), encoding="utf-8")
        run.result({row["trial"]: {key: row[key] for key in ("success", "score") if key in row} for row in rows})
    print(markdown(rows))


def _write(path: Path, value: Any) -> None:
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(value), encoding="utf-8")
    scratch.replace(path)


if __name__ == "__main__":
    main()
