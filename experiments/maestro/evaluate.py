"""Stage maestro.evaluate: every trained cell answers the test, every answer kept with its score by a rule.

With `maestro.judge_url` a judge then says what it thinks of every answer; see `experiments.maestro.judging`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from encore import configuration, tracking
from encore.benchmarks import Item, read_items
from encore.errors import UserError
from encore.evaluation.chrf import chrf
from encore.evaluation.metrics import answer_of, score
from encore.policy import PolicySettings
from experiments import warm
from experiments.maestro import cells
from experiments.maestro.arms import Arm, arm
from experiments.maestro.settings import RUNS, AnswerSettings, cell, group, settings
from experiments.maestro.train import jobs, options

PARAMS = [
    "profile",
    "tracking",
    "policy",
    "maestro.methods",
    "maestro.seeds",
    "maestro.workers",
    "maestro.judge_url",
    "maestro.judge_model",
    "maestro.judging",
    "maestro.static",
    "maestro.answers",
]
CODE = [
    Path(path)
    for path in (
        "experiments/maestro/evaluate.py",
        "experiments/maestro/policies.py",
        "src/encore/evaluation/metrics.py",
        "src/encore/evaluation/chrf.py",
        "src/encore/benchmarks",
        "src/encore/rollout",
        "src/encore/training/conductor/responses.py",
        "src/encore/chat.py",
        "src/encore/models.py",
    )
]


def evaluate_cell(job: cells.Job) -> None:
    """Evaluates one cell, unless its folder holds that very run."""
    benchmark, method, seed = job
    params = configuration.read(PARAMS)
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    answers = configuration.build(AnswerSettings, params["maestro"]["answers"], "maestro.answers")
    trained, data = cell("train", benchmark, method, seed), RUNS / "data" / benchmark
    one = arm(method, params["maestro"]["static"])
    run = tracking.start(
        out=cell("evaluate", benchmark, method, seed),
        stage="maestro.evaluate",
        experiment="maestro",
        group=group(params["profile"], benchmark, method),
        seed=seed,
        params={
            "profile": params["profile"],
            "tracking": params["tracking"],
            "policy": params["policy"],
            "maestro": {"arm": method, "prefix": one.prefix, "answers": params["maestro"]["answers"]},
        },
        inputs=[trained, data / "test.jsonl", data / "benchmark.json", *CODE],
        continues=trained,
    )
    if cells.finished(run):
        print(f"maestro.evaluate: {run.final} is up to date", flush=True)
        return
    with run:
        items = read_items(data / "test.jsonl")
        metric = json.loads((data / "benchmark.json").read_text(encoding="utf-8"))["metric"]
        with run.phase("evaluate"):
            rows = answered(run, policy, trained, items, metric, one, answers, seed)
        run.table("answers", rows)
        run.dataset(f"{benchmark}-test", data / "test.jsonl", source=str(data), context="test")
        number = len(rows)
        run.result(
            {
                "score": sum(row["score"] for row in rows) / number,
                "chrf": sum(row["chrf"] for row in rows) / number,
                "response_tokens": sum(row["tokens"] for row in rows) / number,
                "format_share": sum(row["formatted"] for row in rows) / number,
                "ended_share": sum(row["ended"] for row in rows) / number,
                "items": number,
            }
        )


def answered(
    run: tracking.Run,
    policy: PolicySettings,
    trained: Path,
    items: list[Item],
    metric: str,
    one: Arm,
    answers: AnswerSettings,
    seed: int,
) -> list[dict[str, Any]]:
    """One row an item, in the test's order. Raises UserError for a prompt that leaves no room for an answer."""
    from encore.rewards.texts import parts_of
    from encore.training.conductor.responses import answer, response_seed
    from experiments.maestro import policies

    model, tokenizer, chat = policies.load(policy, trained)
    asked = [chat.first(one.prefix + item.prompt) for item in items]
    for item, ids in zip(items, asked, strict=True):
        if len(ids) + answers.max_response_tokens > policy.max_length:
            raise UserError(
                f"test item {item.id} has {len(ids)} tokens, which leaves no room for an answer of "
                f"{answers.max_response_tokens} in policy.max_length {policy.max_length}: raise it"
            )
    found = answer(
        model,
        chat,
        asked,
        [response_seed(seed, 0, place) for place in range(len(items))],
        max_response_tokens=answers.max_response_tokens,
        temperature=answers.temperature,
        rows=answers.batch_size,
    )
    rows = []
    for item, one_answer in zip(items, found, strict=True):
        ids = one_answer.token_ids[:-1] if one_answer.ended else one_answer.token_ids
        text = tokenizer.decode(ids, skip_special_tokens=True)
        rows.append(
            {
                "id": item.id,
                "task_type": item.task_type,
                "score": score(metric, text, item),
                "chrf": chrf(answer_of(text), item.reference),
                "tokens": len(one_answer.token_ids),
                "formatted": parts_of(text) is not None,
                "ended": one_answer.ended,
                "response": text,
                "reference": item.reference,
            }
        )
    generated = sum(row["tokens"] for row in rows)
    run.count(
        tokens_generated=generated,
        flops=tracking.flops(model.config, generated + sum(map(len, asked)), training=False),
    )
    return rows


@tracking.stage_main
def main() -> None:
    parsed = options(__doc__)
    wanted, maestro = jobs(parsed), settings()
    if not parsed.method:
        names = [cell("evaluate", *job).name for job in wanted]
        cells.keep_only(RUNS / "evaluate" / parsed.benchmark, [*names, *(["judged"] if maestro.judged else [])])
        cells.keep_only(RUNS / "evaluate" / parsed.benchmark / "judged", names)
    device = configuration.read(["policy"])["policy"]["device"]
    imports = warm.IMPORTS["maestro"] if device == "cpu" else None
    cells.run_all(evaluate_cell, wanted, maestro.workers, imports=imports)
    if maestro.judged:
        from experiments.maestro.judging import judge_all

        judge_all(wanted, maestro)


if __name__ == "__main__":
    warm.delegate("experiments.maestro.evaluate")
    main()
