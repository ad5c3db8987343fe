"""What PRISM's stages take and are made of, for `encore plan prism`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from encore import arbitration, configuration
from encore.errors import UserError
from encore.evaluation import EvaluationSettings
from encore.planning import costs
from encore.planning.bench import Bench
from encore.planning.memory import Load
from encore.planning.paper import Cost, PaperPlan, Reported, naming
from encore.planning.subject import Subject
from encore.planning.work import Work
from encore.report.reported import seconds
from experiments.prism.settings import PrismSettings

REPORTED = Path(__file__).parent / "reported.yaml"
MATRICES = 14  # of the invented norms by which arms are tried


def plan(subject: Subject) -> PaperPlan:
    """The plan of the profile's section `prism`. Raises UserError for what its stages would refuse."""
    with naming({"unknown arm": "prism.methods", "arm ": "prism.methods"}):
        prism = configuration.build(PrismSettings, subject.section("prism"), "prism")
    evaluation = configuration.build(EvaluationSettings, subject.section("evaluation"), "evaluation")
    worlds = {name: subject.section(name) for name in prism.environments}
    for name, section in worlds.items():
        limit, own = section["max_steps"], prism.rl[name].max_steps
        if own is not None and own > limit:
            raise UserError(
                f"prism.rl.{name}.max_steps is {own}, more than {name}.max_steps, which is {limit}: lower it"
            )

    @cache
    def routed(environment: str, method: str) -> tuple[int, int]:
        return _routed(method, worlds[environment]["demonstrations"], prism.rl_fraction)

    def length(environment: str) -> float:
        episodes = subject.episodes(environment)
        return episodes.length(episodes.turns, subject.policy.max_length)

    def probe(cell: Mapping[str, Any]) -> Cost:
        name = cell["environment"]
        return Cost([Work("probe", "probe", worlds[name]["demonstrations"] * length(name), length(name))])

    def pass_rates(cell: Mapping[str, Any]) -> Cost:
        name, asked = cell["environment"], prism.pass_rates
        steps = worlds[name]["max_steps"]
        return Cost(
            costs.play(
                subject,
                name,
                float(asked.rollouts * worlds[name]["demonstrations"]),
                steps if asked.max_steps is None else min(steps, asked.max_steps),
                asked.max_action_tokens,
                asked.batch_size,
                "pass_rates",
            )
            if asked.rollouts
            else []
        )

    def train(cell: Mapping[str, Any]) -> Cost:
        name, method = cell["environment"], cell["method"]
        to_sft, to_rl = routed(name, method)
        works = costs.sft(subject, prism.sft, to_sft, length(name))
        if to_rl:
            recipe = recipe_of(prism, name, method, to_rl, worlds[name]["demonstrations"])
            works += costs.agent_rl(subject, name, recipe, recipe.max_steps or worlds[name]["max_steps"])
        if not works:
            return Cost()
        start = costs.model_bytes(subject) if to_sft else 0.0
        return Cost(works, costs.model_bytes(subject), start + costs.checkpoint_bytes(subject, prism.sft.lora_rank))

    def evaluate(cell: Mapping[str, Any]) -> Cost:
        name = cell["environment"]
        number = float(sum(prism.panels[name].values()))
        steps = worlds[name]["max_steps"]
        return Cost(
            costs.play(subject, name, number, steps, evaluation.max_action_tokens, evaluation.batch_size, "evaluate")
        )

    for name in prism.environments:  # every arm is tried on every environment's numbers
        for method in prism.methods:
            to_rl = routed(name, method)[1]
            if to_rl and prism.rl[name].tasks_per_iteration > to_rl:
                raise UserError(
                    f"prism.rl.{name}.tasks_per_iteration is {prism.rl[name].tasks_per_iteration}, and '{method}' "
                    f"sends {to_rl} tasks to RL: lower it, or raise {name}.demonstrations"
                )

    def build(bench: Bench) -> None:
        bench.launcher()
        for name in prism.environments:
            bench.environment(name)
        bench.probe(first)
        bench.sft("prism.sft", prism.sft, first)
        for name in prism.environments:
            algorithms = sorted({arbitration.arm(one).algorithm for one in prism.methods if routed(name, one)[1]})
            for algorithm in algorithms if name == first else algorithms[:1]:
                method = next(one for one in prism.methods if arbitration.arm(one).algorithm == algorithm)
                recipe = recipe_of(prism, name, method, prism.rl[name].tasks_per_iteration, 1)
                bench.agent_rl(f"prism.rl.{name}", dataclasses.replace(recipe, algorithm=algorithm), name)
        bench.rollout_engine(prism.rl[first])
        bench.vllm(evaluation.max_action_tokens, evaluation.temperature, evaluation.batch_size)

    def printed() -> list[Reported]:
        found = []
        for name, method, duration in reported(prism.environments, prism.methods):
            works = train({"environment": name, "method": method}).work
            if arbitration.arm(method).skip(arbitration.Context(n=1)) is not None:  # it reads the probe
                works = probe({"environment": name}).work + works
            found.append(Reported(f"{name} {method}", duration, seconds(duration) / 3600, works))
        return found

    first = prism.environments[0]
    tokens = float(prism.probe.batch_tokens)
    shares = [costs.learned_share(subject, name) for name in prism.environments]
    rates = {"prism.sft.learning_rate": prism.sft.learning_rate} | {
        f"prism.rl.{name}.learning_rate": prism.rl[name].learning_rate for name in prism.environments
    }
    return PaperPlan(
        rules={
            "prism.demos": lambda cell: Cost(),
            "prism.probe": probe,
            "prism.pass_rates": pass_rates,
            "prism.split": lambda cell: Cost(),
            "prism.train": train,
            "prism.evaluate": evaluate,
            "prism.compare": lambda cell: Cost(),
        },
        loads=[
            Load("probe", tokens, tokens * max(shares), optimizer=False),
            costs.play_load(subject, prism.pass_rates.batch_size, "pass rates"),
            *[
                dataclasses.replace(load, launched=True)
                for load in (
                    costs.sft_load(subject, prism.sft, "SFT", max(shares)),
                    costs.agent_load(subject, prism.rl[first], f"RL, update ({first})"),
                    costs.rollout_load(subject, prism.rl[first]),
                )
            ],
            costs.play_load(subject, evaluation.batch_size, "evaluate"),
        ],
        build=build,
        launched=frozenset({"prism.train"}),
        checked=[
            f"section prism: {len(prism.methods)} arms, {len(prism.environments)} environments, {len(prism.seeds)} "
            "seeds; each arm splits invented columns",
            f"sections policy, evaluation, {', '.join(prism.environments)}",
        ],
        reported=printed(),
        reported_devices=8,
        warnings=[
            *costs.precision_warning(subject, rates),
            "the hours are of this profile's short actions and cached prompts: the paper's framework lets a turn read "
            "2,048 and write 512 tokens by default (its own numbers are not published), so its hours are many times as "
            "many",
        ],
    )


def recipe_of(prism: PrismSettings, environment: str, method: str, to_rl: int, demonstrations: int) -> Any:
    """The RL settings of an arm as stage prism.train makes them."""
    from experiments.prism.train import rl_settings

    return rl_settings(prism.rl[environment], arbitration.arm(method), to_rl, demonstrations)


def _routed(method: str, number: int, rl_fraction: float) -> tuple[int, int]:
    """Numbers of examples that an arm sends to SFT and to RL, on invented columns."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "norms": random.random((number, MATRICES)) + 0.1,
        "losses": random.random(number),
        "lengths": random.permutation(number) + 1,
        "responses": random.permutation(number) + 1,
        "turns": random.integers(1, 30, number),
        "task_types": random.choice(["one", "two", "three"], number),
        "pass_rates": random.random(number),
        "matrix_sizes": np.ones((number, MATRICES), dtype=int),
    }
    split = arbitration.arm(method).split(arbitration.Context(number, 0, rl_fraction, columns))
    return len(split.sft), len(split.rl)


def reported(environments: list[str], methods: list[str]) -> list[tuple[str, str, str]]:
    """Table 3 of the paper, on 8 A100 of 80 GB: environment, arm, and its total time."""
    content = yaml.safe_load(REPORTED.read_text(encoding="utf-8"))
    found = []
    for environment in environments:
        block = next((one for one in content["blocks"] if one["id"] == f"table3_{environment}"), None)
        if block is None:
            continue
        total = [column["metric"] for column in block["columns"]].index("total_wall_s")
        found += [
            (environment, method, str(row[total]))
            for method, row in block["rows"].items()
            if method in methods and row[total] is not None
        ]
    return found
