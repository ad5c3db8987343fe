"""What the stages of agents take and are made of, for `encore plan agents`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from encore import configuration
from encore.errors import UserError
from encore.evaluation import EvaluationSettings
from encore.planning import costs
from encore.planning.bench import Bench
from encore.planning.paper import Cost, PaperPlan
from encore.planning.subject import Subject
from encore.planning.work import Work
from encore.training.agents import AgentRLSettings
from experiments.agents.settings import AgentSettings


def plan(subject: Subject) -> PaperPlan:
    """The plan of the profile's section `agents`. Raises UserError for what its stages would refuse."""
    agents = configuration.build(AgentSettings, subject.section("agents"), "agents")
    evaluation = configuration.build(EvaluationSettings, subject.section("evaluation"), "evaluation")
    worlds = {name: subject.section(name) for name in agents.environments}
    trials = [
        configuration.build(
            AgentRLSettings,
            {**subject.params["agents"]["rl"][name], **changes, "iterations": agents.sweep.iterations},
            "agents.sweep.trials",
        )
        for name in agents.environments
        for changes in agents.sweep.trials
    ]
    for name in agents.environments:
        own, limit = agents.rl[name].max_steps, worlds[name]["max_steps"]
        if own is not None and own > limit:
            raise UserError(
                f"agents.rl.{name}.max_steps is {own}, more than {name}.max_steps, which is {limit}: lower it"
            )

    def limit_of(name: str, settings: AgentRLSettings) -> int:
        return int(settings.max_steps or worlds[name]["max_steps"])

    def played(name: str, number: float) -> list[Work]:
        steps = int(worlds[name]["max_steps"])
        return costs.play(subject, name, number, steps, evaluation.max_action_tokens, evaluation.batch_size, "evaluate")

    def panels(name: str) -> list[Work]:
        return played(name, float(sum(worlds[name]["panels"].values())))

    def start(cell: Mapping[str, Any]) -> Cost:
        name = cell["environment"]
        episodes = subject.episodes(name)
        length = episodes.length(episodes.turns, subject.policy.max_length)
        works = costs.sft(subject, agents.sft[name], agents.demonstrations[name], length)
        scratch = costs.checkpoint_bytes(subject, agents.sft[name].lora_rank)
        return Cost(works + panels(name), costs.model_bytes(subject), scratch)

    def sweep(cell: Mapping[str, Any]) -> Cost:
        name = cell["environment"]
        place = agents.environments.index(name) * len(agents.sweep.trials)
        works = played(name, float(agents.sweep.tasks))
        for settings in trials[place : place + len(agents.sweep.trials)]:
            works += costs.agent_rl(subject, name, settings, limit_of(name, settings))
            works += played(name, float(agents.sweep.tasks))
        return Cost(works, 0.0, costs.checkpoint_bytes(subject))

    def train(cell: Mapping[str, Any]) -> Cost:
        name = cell["environment"]
        settings = dataclasses.replace(agents.rl[name], algorithm=cell["algorithm"])
        works = costs.agent_rl(subject, name, settings, limit_of(name, settings))
        return Cost(works, costs.model_bytes(subject), costs.checkpoint_bytes(subject, settings.lora_rank))

    def build(bench: Bench) -> None:
        for name in agents.environments:
            bench.environment(name)
            bench.sft(f"agents.sft.{name}", agents.sft[name], name)
            for algorithm in agents.algorithms:
                settings = dataclasses.replace(agents.rl[name], algorithm=algorithm)
                bench.agent_rl(f"agents.rl.{name}", settings, name)
        bench.vllm(evaluation.max_action_tokens, evaluation.temperature, evaluation.batch_size)

    rates = {
        f"agents.{part}.{name}.learning_rate": getattr(agents, part)[name].learning_rate
        for part in ("sft", "rl")
        for name in agents.environments
    }
    first = agents.environments[0]
    return PaperPlan(
        rules={
            "agents.start": start,
            "agents.sweep": sweep,
            "agents.train": train,
            "agents.evaluate": lambda cell: Cost(panels(cell["environment"])),
            "agents.compare": lambda cell: Cost(),
        },
        loads=[
            costs.sft_load(subject, agents.sft[first], "SFT", costs.learned_share(subject, first)),
            costs.agent_load(subject, agents.rl[first], f"RL, update ({first})"),
            costs.rollout_load(subject, agents.rl[first]),
        ],
        build=build,
        checked=[
            f"section agents: {len(agents.environments)} environments, {len(agents.algorithms)} algorithms, "
            f"{len(agents.seeds)} seeds, {len(agents.sweep.trials)} trials of the sweep",
            f"sections policy, evaluation, {', '.join(agents.environments)}",
        ],
        several=frozenset({"agents.train"}),
        warnings=costs.precision_warning(subject, rates),
    )
