"""What the stages of MAESTRO take and are made of, for `encore plan maestro`."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from encore import configuration, rewards
from encore.benchmarks import load
from encore.benchmarks.published import BENCHMARKS
from encore.errors import UserError
from encore.evaluation.metrics import checkable
from encore.planning import costs, launch
from encore.planning.bench import Bench
from encore.planning.memory import BYTES, Load
from encore.planning.paper import Cost, PaperPlan, Reported, naming
from encore.planning.subject import Subject
from encore.planning.work import Work
from encore.report.reported import seconds
from encore.scalarization.settings import ConductorSettings
from encore.training.conductor import MultiRewardSettings
from experiments.maestro.arms import Arm, arm
from experiments.maestro.settings import MaestroSettings, section

PLANNED = {"ours": "ours", "without_conductor": "equal"}
"""The arm behind a row of the paper's table 2; which one is without the Conductor it does not say."""
REPORTED = Path(__file__).parent / "reported.yaml"
SAMPLED = 4  # items of a split, for lengths
SCORED_WITH_A_MODEL = ("perplexity", "preference")  # one more forward pass of a model as large as the policy


def plan(subject: Subject) -> PaperPlan:
    """The plan of the profile's section `maestro`. Raises UserError for what its stages would refuse."""
    raw = subject.section("maestro")
    with naming({"benchmark ": "maestro.benchmarks.names"}):
        maestro = configuration.build(MaestroSettings, raw, "maestro")
    planning = subject.planning
    recipes = {
        (benchmark, one.name): configuration.build(
            MultiRewardSettings,
            section(subject.params, "rl", benchmark, one.rl),
            f"maestro.rl ({benchmark}, {one.name})",
        )
        for benchmark in maestro.benchmarks.names
        for one in maestro.arms()
        if one.trains == "rl"
    }
    for benchmark in maestro.benchmarks.names:
        own = section(subject.params, "conductor", benchmark, {})
        configuration.build(ConductorSettings, own, f"maestro.conductor ({benchmark})")
    for name in {reward for one in maestro.arms() for reward in one.rewards or maestro.rewards.names}:
        if name not in ("preference", *rewards.names()):
            raise UserError(f"maestro.rewards.names has '{name}': choose from {', '.join(rewards.names())}, preference")
    sizes = {name: _sizes(maestro, name) for name in maestro.benchmarks.names}
    prompts, solutions = _lengths(subject, maestro)
    running = maestro.cells()

    def supervised(settings: Any, rows: float) -> list[Work]:
        return costs.sft(subject, settings, rows, prompts + solutions)

    def start(cell: Mapping[str, Any]) -> Cost:
        rows = min(maestro.warmup.examples, sizes[cell["benchmark"]][1])
        if not rows:
            return Cost()
        return Cost(supervised(maestro.warmup.sft, rows), costs.model_bytes(subject), costs.checkpoint_bytes(subject))

    def preference(cell: Mapping[str, Any]) -> Cost:
        if maestro.preference.source is not None:
            return Cost()
        tokens = 2.0 * maestro.preference.pairs * (prompts + solutions)
        return Cost([Work("preference", "score", tokens, prompts + solutions)])

    def reinforced(one: Arm, settings: MultiRewardSettings) -> list[Work]:
        number = float(settings.steps * settings.responses)
        response = planning.response_share * settings.max_response_tokens
        length = prompts + response
        works = costs.answers(number, prompts, response, settings.rollout_batch, "rollout")
        works.append(Work("update", "update", number * length, length))
        named = one.rewards or tuple(maestro.rewards.names)
        scored = sum(name in SCORED_WITH_A_MODEL for name in named)
        if scored:
            works.append(Work("rewards", "score", scored * number * length, length))
        if settings.kl:
            works.append(Work("reference", "score", number * length, length))
        return works

    def train(cell: Mapping[str, Any]) -> Cost:
        benchmark = cell["benchmark"]
        works: list[Work] = []
        trained = 0
        for one, _ in running:
            if one.trains == "supervised":
                works += supervised(maestro.sft, sizes[benchmark][0])
            elif one.trains == "rl":
                works += reinforced(one, recipes[benchmark, one.name])
            trained += one.trains != "nothing"
        return Cost(works, trained * costs.model_bytes(subject), costs.checkpoint_bytes(subject))

    def evaluate(cell: Mapping[str, Any]) -> Cost:
        rows, asked = sizes[cell["benchmark"]][2], maestro.answers
        response = planning.response_share * asked.max_response_tokens
        return Cost(costs.answers(float(len(running) * rows), prompts, response, min(asked.batch_size, rows)))

    def build(bench: Bench) -> None:
        bench.launcher()
        learned = [one for one in maestro.arms() if one.trains == "rl" and maestro.skip(one) is None]
        bench.sft("maestro.sft", maestro.sft)
        for name in sorted({name for one in learned for name in one.rewards or maestro.rewards.names}):
            if name != "preference":  # its model is trained by a stage, or from the hub
                bench.reward(name, maestro.rewards.parameters.get(name, {}))
        bench.multi_reward(_scalarizers(maestro, learned, raw), maestro.rl)
        bench.vllm(maestro.answers.max_response_tokens, maestro.rl.temperature, maestro.rl.rollout_batch)

    def printed() -> list[Reported]:
        found = []
        for benchmark, name, duration in reported():
            recipe = recipes.get((benchmark, PLANNED[name]))
            if recipe is not None:
                works = reinforced(arm(PLANNED[name]), recipe)
                found.append(Reported(f"{benchmark} {name}", duration, seconds(duration) / 3600, works))
        return found

    skipped = {one.name: maestro.skip(one) for one in maestro.arms() if maestro.skip(one)}
    warnings = [f"arm {name} is left out: {reason}" for name, reason in skipped.items()]
    rates = {
        "maestro.sft.learning_rate": maestro.sft.learning_rate,
        "maestro.rl.learning_rate": maestro.rl.learning_rate,
    }
    return PaperPlan(
        rules={
            "maestro.data": lambda cell: Cost(),
            "maestro.start": start,
            "maestro.preference": preference,
            "maestro.train": train,
            "maestro.evaluate": evaluate,
            "maestro.compare": lambda cell: Cost(),
        },
        loads=_loads(subject, maestro),
        build=build,
        launched=frozenset({"maestro.train"}),
        checked=[
            f"section maestro: {len(maestro.methods)} arms, {len(maestro.benchmarks.names)} benchmarks of source "
            f"{maestro.benchmarks.source}, {len(maestro.seeds)} seeds, {len(running)} cells a benchmark",
            f"rl of {len(recipes)} benchmark-arm pairs, the Conductor's settings, every reward's name; section policy",
        ],
        assumptions={"tokens of a prompt": round(prompts, 1), "tokens of a reference": round(solutions, 1)},
        reported=printed(),
        warnings=warnings + costs.precision_warning(subject, rates),
    )


def _loads(subject: Subject, maestro: MaestroSettings) -> list[Load]:
    """Of SFT and GRPO. A sharded policy has a whole reference beside it, and a whole copy that answers in its place."""
    settings, longest = maestro.rl, float(subject.policy.max_length)
    named = {name for one in maestro.arms() for name in one.rewards or maestro.rewards.names}
    # A reward model of the hub is taken to be as large as the policy; the stage's own is the policy with a head.
    dtype = maestro.rewards.parameters.get("preference", {}).get("dtype", subject.policy.dtype)
    judged = float(subject.backbone.parameters * BYTES[dtype]) if "preference" in named else 0.0
    tokens = settings.device_batch * longest
    copies = int(bool(settings.kl) or "perplexity" in maestro.rewards.names)
    trained = subject.backbone.parameters
    update = Load(
        "GRPO, update",
        tokens,
        min(tokens, costs.FUSED_LOGITS),
        trained,
        copies=copies,
        whole_copies=True,
        checkpointing=settings.gradient_checkpointing,
        engine=judged,
        launched=True,
    )
    processes = launch.settings(subject.params).processes
    rows = float(min(settings.rollout_batch * processes, settings.responses))
    rollout = dataclasses.replace(
        update,
        phase="GRPO, rollout",
        tokens=0.0,
        logit_tokens=rows,
        checkpointing=True,
        cached_tokens=rows * longest,
        plays=not copies,
    )
    supervised = dataclasses.replace(costs.sft_load(subject, maestro.sft, "SFT"), launched=True)
    return [supervised, update, rollout]


def _scalarizers(
    maestro: MaestroSettings, learned: list[Arm], raw: Mapping[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    """Each scalarizer that an arm uses, once, with parameters that suit two rewards."""
    found: dict[str, dict[str, Any]] = {}
    for one in learned:
        parameters = (
            {**raw["conductor"], **copy.deepcopy(dict(one.parameters))} if one.conductor else dict(one.parameters)
        )
        if one.scalarizer == "single":
            parameters = {"reward": "format"}
        if one.scalarizer == "static":
            parameters = {"weights": {"format": 0.5, "length": 0.5}}
        found.setdefault(one.scalarizer, parameters)
    return sorted(found.items())


def _sizes(maestro: MaestroSettings, benchmark: str) -> tuple[int, int, int]:
    """Rows of train, validation and test; the rows that a rule cannot check count here too."""
    limits = (maestro.benchmarks.train, maestro.benchmarks.validation, maestro.benchmarks.test)
    if maestro.benchmarks.source == "procedural":
        from encore.benchmarks.registry import PROCEDURAL_SIZES

        there = tuple(PROCEDURAL_SIZES.values())
        return tuple(limit or size for limit, size in zip(limits, there, strict=True))  # type: ignore[return-value]
    there = BENCHMARKS[benchmark].sizes
    return tuple(min(limit or size, size) for limit, size in zip(limits, there, strict=True))  # type: ignore[return-value]


def _lengths(subject: Subject, maestro: MaestroSettings) -> tuple[float, float]:
    """Mean tokens of a prompt and of a reference answer: of a few generated items, or assumed."""
    if maestro.benchmarks.source != "procedural":
        return subject.planning.prompt_tokens, subject.planning.answer_tokens
    few = dataclasses.replace(maestro.benchmarks, train=SAMPLED, validation=SAMPLED, test=SAMPLED)
    items = [item for name in few.names for item in load(name, few, checkable).train]
    chat = subject.chat
    prompts = [len(chat.first(item.prompt)) for item in items]
    return sum(prompts) / len(prompts), sum(len(chat.action(item.solution)) for item in items) / len(items)


def reported() -> list[tuple[str, str, str]]:
    """Table 2 of the paper, of training with Qwen3-8B on a machine that is not named: benchmark, row, time."""
    content = yaml.safe_load(REPORTED.read_text(encoding="utf-8"))
    found = []
    for block in content["blocks"]:
        if str(block["id"]).startswith("table2_"):
            found += [(block["environment"], name, str(row[0])) for name, row in block["rows"].items()]
    return found
