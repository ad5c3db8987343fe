"""What the stages of G2IS take and are made of, for `encore plan g2is`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encore import configuration, data
from encore.errors import UserError
from encore.planning import costs
from encore.planning.bench import Bench
from encore.planning.memory import BYTES, Load
from encore.planning.paper import Cost, PaperPlan, naming
from encore.planning.subject import Subject
from encore.planning.work import Work
from encore.selection import budget
from experiments.g2is.settings import Cell, G2isSettings

# Rows of the whole test and subtasks, as published; the paper's percentages are counts of these tests (GPQA's of none).
TESTS = {"gsm8k": (1319, 1), "math": (5000, 7), "bbh": (6511, 27), "mmlu": (14042, 57), "gpqa": (448, 1)}
OPTIONS = {"mmlu": 4, "gpqa": 4}
"""Tests that the harness scores by the likelihood of each option: as many passes, nothing generated."""
FAMILIES = 3  # of a procedural target
SAMPLED = 2  # rows of each family, for lengths
FP16, FP32 = 2, 4


def plan(subject: Subject) -> PaperPlan:
    """The plan of the profile's section `g2is`. Raises UserError for what its stages would refuse."""
    with naming({"unknown selection method": "g2is.methods", "data.": "g2is"}):
        g2is = configuration.build(G2isSettings, subject.section("g2is"), "g2is")
    _check_data(g2is)
    row, answer = _lengths(subject, g2is)
    pool = len(g2is.data.pools) * (g2is.data.pool_size or subject.planning.test_rows)
    if g2is.data.source == "procedural":
        pool = g2is.data.pool_size or data.registry.PROCEDURAL_ROWS
    stores = g2is.warmup.checkpoints * len(g2is.gradients.readings)
    of_value = BYTES[subject.policy.dtype]
    adapter = 3.0 * costs.trained_parameters(subject.backbone, g2is.warmup.sft.lora_rank) * of_value

    def gradients_of(rows: float, passes: int) -> list[Work]:
        adapted = costs.trained_parameters(subject.backbone, g2is.warmup.sft.lora_rank) / subject.backbone.parameters
        return [
            Work("representations", "score", rows * row, row),
            Work("gradients", "features", passes * rows * row, row, adapted),
        ]

    def store_bytes(rows: float, passes: int) -> float:
        return rows * (passes * g2is.gradients.dim * FP16 + subject.backbone.shape.hidden * FP32)

    def warmup(cell: Mapping[str, Any]) -> Cost:
        works = costs.sft(subject, g2is.warmup.sft, budget(pool, g2is.warmup.fraction), row, "warmup")
        return Cost(
            works, g2is.warmup.checkpoints * adapter, costs.checkpoint_bytes(subject, g2is.warmup.sft.lora_rank)
        )

    def pool_gradients(cell: Mapping[str, Any]) -> Cost:
        return Cost(gradients_of(pool, stores), store_bytes(pool, stores))

    def target_gradients(cell: Mapping[str, Any]) -> Cost:
        shown = g2is.data.shots * _subtasks(cell["target"], g2is)
        return Cost(gradients_of(shown, g2is.warmup.checkpoints), store_bytes(shown, g2is.warmup.checkpoints))

    def train(cell: Mapping[str, Any]) -> Cost:
        method = cell["method"]
        works: list[Work] = []
        for one in trainings(g2is, method):
            works += costs.sft(subject, g2is.sft, budget(pool, one.fraction), row)
        for one in g2is.cells(method):
            for target in g2is.tested(one.target):
                works += _test(subject, g2is, target, row)
        kept = len(g2is.cells(method)) * costs.model_bytes(subject) if g2is.keep_models else 0.0
        return Cost(works, kept, costs.checkpoint_bytes(subject, g2is.sft.lora_rank))

    def build(bench: Bench) -> None:
        bench.sft("g2is.warmup.sft", g2is.warmup.sft)
        bench.features(g2is.warmup.sft.lora_rank, g2is.gradients.dim, g2is.gradients.seed)
        bench.sft("g2is.sft", g2is.sft)

    length = float(subject.policy.max_length)
    rates = {"g2is.sft.learning_rate": g2is.sft.learning_rate} if not g2is.sft.lora_rank else {}
    return PaperPlan(
        rules={
            "g2is.data": lambda cell: Cost(),
            "g2is.warmup": warmup,
            "g2is.gradients": pool_gradients,
            "g2is.target_gradients": target_gradients,
            "g2is.select": lambda cell: Cost(),
            "g2is.train": train,
            "g2is.compare": lambda cell: Cost(),
        },
        loads=[
            costs.sft_load(subject, g2is.warmup.sft, "warmup", answer / row),
            Load(
                "gradient features",
                float(max(g2is.gradients.max_tokens, length)),
                float(max(g2is.gradients.max_tokens, length)) * answer / row,
                costs.trained_parameters(subject.backbone, g2is.warmup.sft.lora_rank),
                optimizer=False,
            ),
            costs.sft_load(subject, g2is.sft, "SFT", answer / row),
        ],
        build=build,
        checked=[
            f"section g2is: {len(g2is.methods)} arms, {len(g2is.targets)} targets, {len(g2is.seeds)} seeds, "
            f"{sum(len(g2is.cells(method)) for method in g2is.methods)} cells, "
            f"{sum(len(trainings(g2is, method)) for method in g2is.methods)} trainings",
            f"pools {', '.join(g2is.data.pools)} and all targets are known to source {g2is.data.source}; policy",
        ],
        assumptions={"rows of the pool": pool, "tokens of a row": round(row, 1), "of them answer": round(answer, 1)},
        warnings=costs.precision_warning(subject, rates),
    )


def trainings(g2is: G2isSettings, method: str) -> list[Cell]:
    """The cells of an arm that are trained: `random` and `full` choose the same for every target and train once."""
    plugin = g2is.plugin(method)
    if plugin is None:
        return []
    cells = g2is.cells(method)
    if plugin not in ("random", "full") or g2is.choices(method):
        return cells
    return list({(one.fraction, one.seed): one for one in cells}.values())


def _check_data(g2is: G2isSettings) -> None:
    source = g2is.data.source
    for key, listed, known in (
        ("data.pools", g2is.data.pools, data.pool_names(source)),
        ("targets", g2is.targets, data.target_names(source)),
    ):
        for name in listed:
            if name not in known:
                raise UserError(
                    f"g2is.{key} names '{name}', which is not to be had from source {source}: choose from "
                    f"{', '.join(known)}"
                )


def _lengths(subject: Subject, g2is: G2isSettings) -> tuple[float, float]:
    """Mean tokens of a row and of its answer: of a few generated rows, or assumed."""
    if g2is.data.source != "procedural":
        return subject.planning.row_tokens, subject.planning.answer_tokens
    rows = [
        data.tokenize_instruction(one, subject.chat, subject.policy.max_length)
        for name in g2is.targets
        for one in data.target(name, g2is.data).validation[: SAMPLED * FAMILIES]
    ]
    kept = [one for one in rows if one is not None]
    return sum(map(len, kept)) / len(kept), sum(sum(one.response_mask) for one in kept) / len(kept)


def _subtasks(target: str, g2is: G2isSettings) -> int:
    if g2is.data.source == "procedural":
        return FAMILIES
    return TESTS.get(target, (0, 1))[1]


def _test(subject: Subject, g2is: G2isSettings, target: str, row: float) -> list[Work]:
    """The test of a model on a target: loss and accuracy of every row, and the harness where it is asked."""
    planning = subject.planning
    whole, subtasks = TESTS.get(target, (planning.test_rows, _subtasks(target, g2is)))
    if g2is.data.source == "procedural":
        whole = (g2is.data.evaluation or data.registry.PROCEDURAL_EVALUATION) * subtasks
    rows = min(whole, g2is.data.evaluation * subtasks) if g2is.data.evaluation else whole
    if g2is.data.source != "procedural" and g2is.data.target_size:
        rows = min(rows, g2is.data.target_size)
    works = [Work("evaluate", "score", rows * row, row)]
    if g2is.evaluate.by == "own":
        return works
    if target in OPTIONS:
        return [*works, Work("evaluate", "score", OPTIONS[target] * rows * planning.test_tokens, planning.test_tokens)]
    answer = min(planning.test_answer, g2is.evaluate.max_new_tokens)
    return works + costs.answers(rows, planning.test_tokens, answer, g2is.evaluate.batch_size)
