"""Stage g2is.compare: every arm beside chance, LESS and the paper, as tables, curves, a page and MLflow parents."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from encore import configuration, data, tracking
from encore.report import document
from encore.report import plots as report_plots
from encore.report.comparison import Meta
from encore.report.tables import Table
from encore.tracking import provenance
from experiments.g2is import claims, collect, data_tables, made_by, plots, quotes, reported, tables
from experiments.g2is.collect import Collected
from experiments.g2is.paired import gain
from experiments.g2is.settings import RUNS, G2isSettings, group, policy_of, read_selection, settings
from experiments.g2is.walks import walk_table

PARAMS = ["profile", "tracking", "policy", "g2is"]
PAGE = Path("report/g2is.html")
RIVALS = ("random", "less")


def record(found: Collected) -> list[dict[str, Any]]:
    """One row an arm, target, fraction and metric: mean, standard error, by seed, and the gain over each rival.

    `loss` is in nats and smaller is better; a gain is positive where the arm is better, whatever the metric.
    """
    rows = []
    for arm in found.arms:
        place = {
            "target": arm.target,
            "domain": found.domains[arm.target],
            "setting": arm.setting,
            "method": arm.method,
            "label": found.g2is.label(arm.method),
            "fraction": arm.fraction,
        }
        if not arm.ran:
            rows.append({**place, "skipped": arm.skipped})
            continue
        for metric, scores in arm.scores.items():
            sign = -1 if metric in collect.SMALLER_IS_BETTER else 1
            gains = {}
            for rival in RIVALS:
                other = found.find(rival, arm.target, arm.fraction, arm.setting)
                if other is not None and rival != arm.method:
                    gains[rival] = gain(scores, other.scores[metric]).as_dict()
            rows.append(
                {
                    **place,
                    "metric": metric,
                    "seeds": arm.seeds,
                    "mean": sign * float(scores.mean()),
                    "standard_error": float(scores.mean(axis=0).std(ddof=1) / scores.shape[1] ** 0.5),
                    "per_seed": [sign * float(value) for value in scores.mean(axis=1)],
                    "test_examples": scores.shape[1],
                    "gain_over": gains,
                    **arm.facts,
                }
            )
    return rows


def selections(g2is: G2isSettings) -> dict[tuple[str, str, float], list[dict[str, Any]]]:
    """Picks of every arm, trained on or not, at the first seed, by arm, target (or setting) and fraction."""
    found = {}
    for method in [*g2is.methods, *(name for name in g2is.variants if name not in g2is.methods)]:
        if g2is.plugin(method) in (None, "full"):
            continue
        for cell in g2is.cells(method):
            if cell.seed == g2is.seeds[0]:
                found[method, cell.target, cell.fraction] = read_selection(cell).get("picks", [])
    return found


def make(found: Collected, numbers: reported.Reported, meta: Meta) -> tuple[document.Report, dict[str, Any]]:
    """The report without its figures, and what comparison.json holds."""
    judged = claims.judge(found, numbers)
    beside = claims.beside(found, numbers, same_scale=meta.same_scale)
    prepared = collect.preparation(found.g2is)
    overlaps, cards = (json.loads((RUNS / "data" / f"{name}.json").read_text()) for name in ("overlap", "cards"))
    sets = selections(found.g2is)
    shown: list[Table] = [
        tables.results(found),
        tables.claims_table(judged, found, numbers),
        tables.by_domain(found),
        tables.costs(found, prepared, collect.choices()),
        tables.multi_target(found),
        tables.choices_table(found, sets),
        *walks(found.g2is, sets),
        tables.paper_tables(beside, found, numbers),
        *data_tables.overlap(overlaps, cards),
    ]
    g2is = found.g2is
    run = (
        f"{len(g2is.methods)} arms on {', '.join(g2is.targets)}, {len(g2is.seeds)} seed{'s' * (len(g2is.seeds) > 1)}, "
        f"{' and '.join(tables.share(one) for one in g2is.fractions)} of a pool of {pool_size()} examples, with "
        f"{meta.backbone} under the profile “{meta.profile}”."
    )
    caveat = (
        f"This is not the paper's scale: the paper trained {meta.reported_backbone}. A verdict says whether a "
        "direction shows at this scale; it neither confirms nor refutes the paper's own result."
    )
    content = {
        "format": 1,
        "meta": dataclasses.asdict(meta),
        "rows": record(found),
        "claims": [
            {
                "id": one.claim.id,
                "a": one.claim.a,
                "b": one.claim.b,
                "target": one.target,
                "fraction": one.fraction,
                "metric": one.metric,
                "gain": None if one.gain is None else one.gain.as_dict(),
                "adjusted_p": one.adjusted_p,
                "verdict": one.verdict,
            }
            for one in judged
        ],
        "paper": [dataclasses.asdict(one) for one in beside],
        "preparation": dataclasses.asdict(prepared),
        "choices": collect.choices(),
        "overlap": overlaps,
        "cards": cards,
    }
    report = document.Report(
        meta,
        run,
        claims.summary(judged),
        caveat,
        shown,
        figures_title="Score against the share of the pool",
        figures_note="A point is the mean over seeds, a band the standard error over test examples; dotted: base, "
        "dashed: all data.",
    )
    return report, content


def walks(g2is: G2isSettings, sets: dict[tuple[str, str, float], list[dict[str, Any]]]) -> list[Table]:
    """G2IS's walk for the first target at the smallest fraction, where there is one."""
    target, fraction = g2is.targets[0], min(g2is.fractions)
    picks = sets.get(("g2is", target, fraction))
    if not picks:
        return []
    questions = [row.prompt for row in data.read_instructions(RUNS / "data" / "pool.jsonl")]
    return [walk_table(target, fraction, picks, questions)]


def pool_size() -> int:
    return int(json.loads((RUNS / "data" / "metrics.json").read_text())["pool"])


def _meta(params: dict[str, Any], numbers: reported.Reported, run: tracking.Run) -> Meta:
    git = run.record.get("git") or {}
    hardware = provenance.hardware()
    source = params["g2is"]["data"]["source"]
    return Meta(
        paper="g2is",
        title=numbers.title,
        profile=params["profile"],
        backbone=policy_of(params).source,
        reported_backbone="Llama-3.1-8B",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=f"{git.get('commit', 'unknown')}{' with uncommitted changes' if git.get('dirty') else ''}",
        command=made_by.command(params),
        machine=", ".join(f"{key} {value}" for key, value in hardware.items() if value),
        versions={key: str(value) for key, value in run.record["versions"].items()},
        warnings=numbers.warnings,
        notes=[
            f"Data: {source}. No validation row is tested on, here or in another target.",
            "Every arm trains by the same recipe (g2is.sft) and as many epochs, so more examples mean more steps.",
            "Choices that the paper leaves open are parameters; what each arm used is in runs/g2is/select.",
        ],
        mlflow_experiment="g2is",
        reported_scale=numbers.scale,
        how_to_add="Add one file with one class to src/encore/selection/methods/ and its name to g2is.methods in "
        "conf/profile/laptop.yaml; then `encore profile use laptop` and `dvc repro g2is.compare`.",
    )


@tracking.stage_main
def main() -> None:
    g2is = settings()
    params = configuration.read(PARAMS)
    numbers = reported.load()
    with tracking.start(
        out=RUNS / "compare",
        stage="g2is.compare",
        experiment="g2is",
        group={},
        seed=None,
        params=params,
        inputs=[RUNS / stage for stage in ("data", "select", "train")],
    ) as run:
        found = collect.collect(g2is)
        report, content = make(found, numbers, _meta(params, numbers, run))
        for target in g2is.targets:
            run.figure(f"data-efficiency-{target}", plots.data_efficiency(found, target))
            svg = report_plots.inline(plots.data_efficiency(found, target), target)
            report.figures.append((f"{target}: score against the share of the pool", svg))
        passed_on = report
        if g2is.data.source != "procedural":
            content["overlap"] = quotes.without_words(content["overlap"])
            passed_on = dataclasses.replace(report, tables=quotes.without_quotes(report.tables))
        (run.out / "comparison.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        (run.out / "comparison.md").write_text(document.markdown(passed_on), encoding="utf-8")
        text = document.console(report)
        (run.out / "table.txt").write_text(text, encoding="utf-8")
        document.save(report, run.out / "report.html")
        summaries: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
        for row in content["rows"]:
            if "metric" in row:
                name = f"{row['metric']}_{row['target']}" if collect.is_multi(row["setting"]) else row["metric"]
                summaries[row["setting"], row["method"]][f"{name}_at_{row['fraction']:g}"] = {
                    "mean": row["mean"],
                    "standard_error": row["standard_error"],
                }
        for (target, method), summary in summaries.items():
            tracking.log_parent("g2is", group(params["profile"], target, method), summary)
        run.result(
            {
                "claims": {
                    f"{one['id']}/{one['target']}/{one['fraction']:g}/{one['metric']}": one["verdict"]
                    for one in content["claims"]
                },
                **{
                    f"{row['method']}/{row['setting']}/{row['target']}/{row['fraction']:g}/{row['metric']}": row["mean"]
                    for row in content["rows"]
                    if "metric" in row
                },
            }
        )
    document.save(report, PAGE)
    print(text)


if __name__ == "__main__":
    main()
