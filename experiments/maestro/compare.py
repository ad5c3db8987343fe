"""Stage maestro.compare: MAESTRO beside its rivals and the paper, as tables, figures, a page and MLflow parents."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from encore import configuration, tracking
from encore.benchmarks.published import BENCHMARKS
from encore.report import document
from encore.report import plots as report_plots
from encore.report.comparison import Meta
from encore.report.reported import ReportedNumbers, load
from encore.statistics import success_interval
from encore.tracking import provenance
from experiments import warm
from experiments.maestro import gains, plots, tables
from experiments.maestro.collect import Collected, collect
from experiments.maestro.settings import RUNS, group, settings

PARAMS = ["profile", "tracking", "policy", "maestro"]
PAGE = Path("report/maestro.html")
HERE = Path(__file__).parent
BACKBONE = "Qwen3-8B"


def reported_backbone(source: str, numbers: ReportedNumbers) -> str:
    """The paper's backbone whose numbers stand beside a policy: its own where it is one of the two, else the first."""
    known = numbers.content["derived"]["macro_mean"]
    return next((name for name in known if source.lower().endswith(name.lower())), BACKBONE)


def rows(found: Collected, numbers: ReportedNumbers, backbone: str) -> list[dict[str, Any]]:
    """One row an arm and benchmark, for comparison.json: scores in fractions of 1, the paper's in percent."""
    made = []
    for (benchmark, method), result in found.results.items():
        printed = numbers.lookup(benchmark, method, "test", "score", backbone=backbone)
        row = {
            "benchmark": benchmark,
            "stand_in": benchmark not in BENCHMARKS,
            "metric": found.metric(benchmark) if found.maestro.judged else found.about[benchmark]["metric"],
            "substitute": not found.maestro.judged,
            "method": method,
            "label": result.arm.label,
            "reported_percent": None if printed is None else printed.value,
        }
        if result.scores is None:
            made.append({**row, "skipped": result.skipped})
            continue
        interval = success_interval(result.scores)
        made.append(
            {
                **row,
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "seeds": result.seeds,
                "per_seed": [float(value) for value in result.scores.mean(axis=1)],
                "items": result.scores.shape[1],
                "by_rule": None if result.by_rule is None else float(result.by_rule.mean()),
                "undecided_share": result.undecided,
                "response_tokens": result.response_tokens,
                "format_share": result.format_share,
                "training_s": result.training_s,
                "phases_s": result.phases,
                **result.costs,
            }
        )
    return made


def _meta(params: dict[str, Any], numbers: ReportedNumbers, backbone: str, run: tracking.Run) -> Meta:
    git = run.record.get("git") or {}
    hardware = provenance.hardware()
    benchmarks, rl = params["maestro"]["benchmarks"], params["maestro"]["rl"]
    laptop = params["profile"] == "laptop"
    judge = params["maestro"]["judge_model"]
    judged = {
        "judge": "The paper's score is the percentage that a judge preferred (three votes of Qwen3-235B-A22B or "
        f"Gemini-2.5-Flash). Its prompts are not known. Here {judge} answers ours: the two are not the same quantity."
    }
    notes = [
        f"Rows: {benchmarks['source']}; every arm starts from the same policy of its benchmark "
        f"({params['maestro']['warmup']['examples']} validation rows of warm-up) and answers the same items.",
        f"GRPO: {rl['steps']} steps of {rl['prompts_per_step']} prompts with {rl['group_size']} answers each, learning "
        f"rate {rl['learning_rate']:g}; rewards normalised by {rl['reward_normalization']}.",
        "How a sampled action becomes weights is a choice (alpha); so are the signs and forms of three rewards. "
        "experiments/maestro/README.md lists all.",
    ]
    if benchmarks["source"] == "procedural":
        notes.append(
            "Stand-ins have the form of the paper's kinds of benchmarks and measure nothing that the paper measured."
        )
    return Meta(
        paper="maestro",
        title=numbers.title,
        profile=params["profile"],
        backbone=params["policy"]["source"],
        reported_backbone=backbone,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=f"{git.get('commit', 'unknown')}{' with uncommitted changes' if git.get('dirty') else ''}",
        command="dvc repro maestro.compare"
        if laptop
        else f"dvc exp run -S profile={params['profile']} maestro.compare",
        machine=", ".join(f"{key} {value}" for key, value in hardware.items() if value),
        versions={key: str(value) for key, value in run.record["versions"].items()},
        warnings=list({**numbers.warnings, **(judged if judge else {})}.values()),
        notes=notes,
        mlflow_experiment="maestro",
        reported_scale=numbers.scale,
        how_to_add="one file with one class in src/encore/scalarization/scalarizers/, one line in "
        "experiments/maestro/arms.py, its name in maestro.methods, then dvc repro maestro.compare.",
    )


def _run_text(found: Collected, meta: Meta) -> str:
    arms = [one.label for one in found.maestro.arms() if found.maestro.skip(one) is None]
    names = ", ".join(found.title(benchmark) for benchmark in found.benchmarks)
    return (
        f"{len(arms)} arms ({', '.join(arms)}) on {names}, {len(found.maestro.seeds)} seeds, with {meta.backbone} "
        f"under the profile “{meta.profile}”."
    )


@tracking.stage_main
def main() -> None:
    maestro = settings()
    params = configuration.read(PARAMS)
    numbers = load(HERE / "reported.yaml")
    backbone = reported_backbone(params["policy"]["source"], numbers)
    with tracking.start(
        out=RUNS / "compare",
        stage="maestro.compare",
        experiment="maestro",
        group={},
        seed=None,
        params=params,
        inputs=[RUNS / stage for stage in ("data", "train", "evaluate")],
    ) as run:
        found = collect(maestro)
        meta = _meta(params, numbers, backbone, run)
        judged = gains.judge(found, numbers, backbone)
        macro_table, means, macro_gains = tables.macros(found, numbers, backbone)
        shown = [
            tables.results(found, numbers, backbone),
            macro_table,
            tables.claims(judged, found),
            tables.conductor(found, numbers, backbone),
            tables.weights(found),
            tables.costs(found),
            tables.preference(found),
        ]
        caveat = (
            f"This is not the paper's scale: the paper trained {meta.reported_backbone} and asked a judge. A verdict "
            "says whether a direction shows here; it neither confirms nor refutes the paper's own result."
        )
        figures = []
        for name, heading, figure in (
            ("weights", "Weights over the training", plots.trajectories(found)),
            ("heat-map", "Weights at its end", plots.heat_map(found)),
            ("conductor", "Entropy and temperature", plots.inner_life(found)),
        ):
            if figure is not None:
                run.figure(name, figure)
                figures.append((heading, report_plots.inline(figure, heading)))
        report = document.Report(meta, _run_text(found, meta), gains.summary(judged), caveat, shown, figures)
        table = document.console(report, ("results", "macro", "claims", "conductor", "weights"))
        (run.out / "table.txt").write_text(table, encoding="utf-8")
        (run.out / "comparison.md").write_text(document.markdown(report), encoding="utf-8")
        document.save(report, run.out / "report.html")
        made = rows(found, numbers, backbone)
        content = {
            "format": 1,
            "meta": dataclasses.asdict(meta),
            "rows": made,
            "macro": [dataclasses.asdict(one) for one in means],
            "macro_gain_of_ours": {name: dataclasses.asdict(one) for name, one in macro_gains.items()},
            "claims": [
                {**dataclasses.asdict(one.claim), "verdict": one.verdict, "why": one.why, "reported": one.reported}
                | {"gain": None if one.gain is None else dataclasses.asdict(one.gain)}
                for one in judged
            ],
            "pairs": tables.every_gain(found),
            "preference": found.preference,
        }
        (run.out / "comparison.json").write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        for row in made:
            if "mean" in row:
                summary = {"score": {name: row[name] for name in ("mean", "low", "high")}, "training_s": _mean(row)}
                tracking.log_parent("maestro", group(params["profile"], row["benchmark"], row["method"]), summary)
        run.result(
            {
                **{f"{row['benchmark']}/{row['method']}": row["mean"] for row in made if "mean" in row},
                "claims": {one.claim.id: one.verdict for one in judged},
            }
        )
    document.save(report, PAGE)
    print(table)


def _mean(row: dict[str, Any]) -> float:
    return float(sum(row["training_s"]) / len(row["training_s"]))


if __name__ == "__main__":
    warm.delegate("experiments.maestro.compare")
    main()
