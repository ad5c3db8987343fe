"""Stage prism.compare: every arm beside every other and beside the paper, as a table, a page and MLflow parents."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from encore import arbitration, configuration, tracking
from encore.report import build, claims, console, html, markdown
from encore.report.comparison import Comparison, Meta
from encore.report.reported import ReportedNumbers, load
from encore.tracking import provenance
from experiments.prism import collect
from experiments.prism.settings import RUNS, PrismSettings, group, settings

PARAMS = [
    "profile",
    "tracking",
    "prism.environments",
    "prism.methods",
    "prism.seeds",
    "policy",
    "evaluation",
    "alfworld",
]
SETTING = "full"
PAGE = Path("report/index.html")
HERE = Path(__file__).parent


def compare(prism: PrismSettings, numbers: ReportedNumbers, meta: Meta) -> Comparison:
    """The comparison of all arms in `prism.methods`, from the outputs of the earlier stages."""
    rows, costs, tests, correlations, shares = [], [], [], [], []
    for environment in prism.environments:
        played = {method: collect.panels(environment, method, prism.seeds) for method in prism.methods}
        names = list(dict.fromkeys(name for panels in played.values() for name in panels))
        for panel, method in itertools.product(names, prism.methods):
            arm = played[method][panel]
            rows.append(
                build.result_row(
                    environment,
                    method,
                    panel,
                    arm.outcomes,
                    label=arbitration.arm(method).label,
                    task_types=arm.task_types,
                    numbers=numbers,
                    setting=SETTING,
                    same_scale=meta.same_scale,
                )
            )
        for panel, (a, b) in itertools.product(names, _pairs(prism.methods)):
            tests.append(
                build.paired_test(environment, panel, a, b, played[a][panel].outcomes, played[b][panel].outcomes)
            )
        costs += [collect.cost(environment, method, prism.seeds) for method in prism.methods]
        found, routed = collect.diagnosis(environment, prism)
        correlations += found
        shares += routed
    return Comparison(
        meta=meta,
        rows=rows,
        costs=costs,
        tests=tests,
        claims=claims.judge(numbers, tests, SETTING, same_scale=meta.same_scale),
        correlations=correlations,
        shares=shares,
    )


def _pairs(methods: list[str]) -> list[tuple[str, str]]:
    """Every pair of trained arms, and each trained arm against the base; the later in the list of methods first."""
    return [(b, a) for a, b in itertools.combinations(methods, 2)]


def _meta(params: dict[str, Any], numbers: ReportedNumbers, run: tracking.Run) -> Meta:
    record = run.record
    git = record.get("git") or {}
    hardware = provenance.hardware()
    alfworld = params["alfworld"]
    games = "official" if alfworld["games"] == "official" else f"generated, {alfworld['size']} rooms"
    evaluation = "greedy" if params["evaluation"]["temperature"] == 0 else f"T {params['evaluation']['temperature']:g}"
    return Meta(
        paper="prism",
        title=numbers.title,
        profile=params["profile"],
        backbone=params["policy"]["source"],
        reported_backbone="Qwen3-8B",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=f"{git.get('commit', 'unknown')}{' with uncommitted changes' if git.get('dirty') else ''}",
        command="make repro" if params["profile"] == "laptop" else f"dvc exp run -S profile={params['profile']}",
        machine=", ".join(f"{key} {value}" for key, value in hardware.items() if value),
        versions={key: str(value) for key, value in record["versions"].items()},
        warnings=list(numbers.warnings.values()),
        notes=[
            f"ALFWorld games: {games}; dialect {alfworld['dialect']}; at most {alfworld['max_steps']} steps; the list "
            "of admissible actions is not shown; an invalid action counts as a step; "
            f"{evaluation} decoding; the same games for every arm and seed.",
            "The supervised half only: an arm fine-tunes on what its split sends to SFT; no RL follows.",
        ],
        mlflow_experiment="prism",
        reported_scale=numbers.scale,
        how_to_add="Add one file with one class to src/encore/arbitration/arms/ and its name to prism.methods in "
        "params.yaml; then `make repro`.",
    )


@tracking.stage_main
def main() -> None:
    prism = settings()
    params = configuration.read(PARAMS)
    numbers = load(HERE / "reported.yaml")
    stages = [RUNS / stage for stage in ("probe", "split", "train", "evaluate")]
    with tracking.start(
        out=RUNS / "compare",
        stage="prism.compare",
        experiment="prism",
        group={},
        seed=None,
        params=params,
        inputs=stages,
    ) as run:
        comparison = compare(prism, numbers, _meta(params, numbers, run))
        comparison.save(run.out / "comparison.json")
        table = console.render(comparison)
        (run.out / "table.txt").write_text(table, encoding="utf-8")
        (run.out / "comparison.md").write_text(markdown.render(comparison), encoding="utf-8")
        html.save(comparison, run.out / "report.html")
        by_arm: dict[tuple[str, str], dict[str, Any]] = {}
        for row in comparison.rows:
            summary = by_arm.setdefault((row.environment, row.method), {})
            summary[f"{row.metric}_{row.panel}"] = {"mean": row.mean, "low": row.low, "high": row.high}
        for cost in comparison.costs:
            summary = by_arm[(cost.environment, cost.method)]
            numbers_of_cost = {
                key: value for key, value in dataclasses.asdict(cost).items() if isinstance(value, float)
            }
            summary["cost"] = {**numbers_of_cost, "total_s": cost.total_s}
        for (environment, method), summary in by_arm.items():
            tracking.log_parent("prism", group(params["profile"], environment, method), summary)
        run.result(
            {
                "claims": {claim.id + "/" + claim.panel: claim.verdict for claim in comparison.claims},
                **{f"{row.method}/{row.panel}": row.mean for row in comparison.rows},
            }
        )
    html.save(comparison, PAGE)
    print(table)


if __name__ == "__main__":
    main()
