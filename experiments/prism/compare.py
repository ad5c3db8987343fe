"""Stage prism.compare: the paper's tables and figures beside ours, as a table, a page and MLflow parents."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from encore import configuration, tracking
from encore.errors import UserError
from encore.report import build, claims, console, cost_verdict, html, markdown, plots, tables
from encore.report.cells import Table
from encore.report.comparison import Comparison, Meta
from encore.report.reported import ReportedNumbers, load
from encore.report.sections import DOTS, Figures, Section, tables_of
from experiments.prism import about, collect, diagnosis, figures, pairs
from experiments.prism import costs as table_3
from experiments.prism import tables as paper
from experiments.prism.rows import rows
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
    "webshop",
]
PAGE = Path("report/index.html")
HERE = Path(__file__).parent
BRIEF = ("claims", "table1", "table2", "table3", "costclaims", "table4", "figure3", "figure4")


def compare(prism: PrismSettings, numbers: ReportedNumbers, meta: Meta) -> Comparison:
    """The comparison of all arms in `prism.methods`, from the outputs of the earlier stages.

    Raises UserError where no arm of any environment has been evaluated, and what `collect.played` raises.
    """
    made = Comparison(meta)
    tests, probes = [], {}
    for environment in prism.environments:
        found = collect.played(environment, prism.methods, prism.seeds)
        here = rows(environment, prism, found, numbers, meta)
        made.rows.extend(here)
        tests += pairs.tests(environment, found, here, numbers)
        made.costs.extend(collect.cost(environment, method, prism.seeds) for method in found.panels)
        diagnosed = diagnosis.diagnose(environment, prism)
        made.correlations.extend(diagnosed.correlations)
        made.agreements.extend(diagnosed.agreements)
        made.profiles.extend(diagnosed.profiles)
        made.shares.extend(diagnosed.shares)
        probes[environment] = diagnosed.probes
    if not any(row.seeds for row in made.rows):
        raise UserError(
            "there is nothing to compare: no arm of prism.methods was evaluated; run `dvc repro prism.compare`"
        )
    made.tests.extend(build.corrected(tests))
    made.claims.extend(
        claims.judge(
            numbers,
            [test for test in tests if test.family in (pairs.CLAIMS, pairs.IMPLIED)],
            environments=prism.environments,
            backbone=meta.reported_backbone,
            same_scale=meta.same_scale,
        )
    )
    made.cost_claims.extend(cost_verdict.judge(numbers, made.costs))
    meta.notes.extend(about.of_probes(environment, names) for environment, names in probes.items())
    return made


def layout(comparison: Comparison, numbers: ReportedNumbers) -> list[Section]:
    """The page: claims, the paper's tables and figures, tests, and the diagnosis of the score."""
    by_arm = plots.interval_svgs(comparison)
    sections: list[Section] = [
        tables.claims(comparison),
        paper.table_1(comparison),
        paper.table_2(comparison),
        Figures("figure", "Means and intervals", by_arm, note=DOTS),
        paper.table_1_types(comparison),
        table_3.table_3(comparison, numbers),
        tables.cost_claims(comparison),
        table_3.counters(comparison),
        paper.table_4(comparison),
        paper.figure_3(comparison),
        Figures("figure3plot", "Figure 3, drawn", figures.metrics(comparison), note="Lines: 95 % intervals."),
        paper.figure_4(comparison),
        Figures("figure4plot", "Figure 4, drawn", figures.ratios(comparison), note="Lines: 95 % intervals."),
        tables.tests(comparison),
        tables.correlations(comparison),
        tables.agreements(comparison),
        Figures(
            "mass",
            "Diagnosis: gradient mass by layer and matrix",
            figures.gradient_mass(comparison.profiles),
            lead="The mean share of each matrix in an example's sum of gradient norms, for the tenth of the examples "
            "with the lowest score (to SFT) and the tenth with the highest (to RL). Darker is more.",
        ),
        tables.shares(comparison),
    ]
    return [section for section in sections if section]


def _parents(profile: str, comparison: Comparison) -> None:
    """Mean, interval and cost of every arm that ran, on its parent run in MLflow, with its rows as a table."""
    for environment, method in dict.fromkeys((row.environment, row.method) for row in comparison.rows if row.seeds):
        rows = [row for row in comparison.rows if (row.environment, row.method) == (environment, method)]
        summary: dict[str, Any] = {
            f"{row.metric}_{row.panel}": {"mean": row.mean, "low": row.low, "high": row.high} for row in rows
        }
        for cost in comparison.costs:
            if (cost.environment, cost.method) == (environment, method):
                numbers = {key: value for key, value in dataclasses.asdict(cost).items() if isinstance(value, float)}
                summary["cost"] = {**numbers, "training_s": cost.training_s}
        table = [
            {
                "panel": row.panel,
                "metric": row.metric,
                "reported": row.reported.value if row.reported else None,
                "reproduced": row.mean,
                "low": row.low,
                "high": row.high,
                "seeds": len(row.seeds),
                "verdict": row.verdict,
            }
            for row in rows
        ]
        tracking.log_parent("prism", group(profile, environment, method), summary, tables={"panels": table})


@tracking.stage_main
def main() -> None:
    prism = settings()
    params = configuration.read(PARAMS)
    numbers = load(HERE / "reported.yaml")
    stages = [RUNS / stage for stage in ("probe", "pass_rates", "split", "train", "evaluate")]
    with tracking.start(
        out=RUNS / "compare",
        stage="prism.compare",
        experiment="prism",
        group={},
        seed=None,
        params=params,
        inputs=[stage for stage in stages if stage.exists()],
    ) as run:
        comparison = compare(prism, numbers, about.meta(params, numbers, run))
        sections = layout(comparison, numbers)
        shown: list[Table] = [table for table in tables_of(sections) if table.id in BRIEF]
        comparison.save(run.out / "comparison.json")
        table = console.render(comparison, shown=shown)
        (run.out / "table.txt").write_text(table, encoding="utf-8")
        (run.out / "comparison.md").write_text(markdown.render(comparison, tables_of(sections)), encoding="utf-8")
        page = html.save(comparison, run.out / "report.html", sections).read_text(encoding="utf-8")
        _parents(params["profile"], comparison)
        run.result(
            {
                "claims": {
                    **{claim.id: claim.verdict for claim in comparison.claims},
                    **{claim.id: claim.verdict for claim in comparison.cost_claims},
                },
                **{
                    f"{row.environment}/{row.method}/{row.panel}/{row.metric}": row.mean
                    for row in comparison.rows
                    if row.mean is not None
                },
            }
        )
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
