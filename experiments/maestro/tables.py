"""The tables of MAESTRO's report, as plain cells that `encore.report` renders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from encore.report import numbers as write
from encore.report.reported import ReportedNumbers
from encore.report.tables import Cell, Column, Group, Table
from encore.report.verdict import DIRECTION, NOT_REPRODUCED, NOT_RUN, REPRODUCED
from encore.statistics import success_interval
from experiments.maestro.collect import Collected, Result
from experiments.maestro.gains import (
    Gain,
    Judged,
    Macro,
    gain,
    macro,
    macro_gain,
)

TONES = {REPRODUCED: "good", NOT_REPRODUCED: "bad", DIRECTION: "", NOT_RUN: "muted"}
SUBSTITUTE = (
    "Here: a checkable substitute for the paper's judge, named in each heading, mean over seeds with its "
    "95 % interval over items. Paper: percentage preferred by a judge. They are not the same quantity, and nothing is "
    "subtracted."
)
JUDGED = (
    "Here: what a judge said of each answer, named in each heading, mean over seeds with its 95 % interval over items; "
    "votes without a majority count as no. Paper: percentage preferred by its judge, whose prompts are not known."
)
WITHOUT = "equal"  # the same five rewards, no Conductor: what Table 2 compares with


def results(found: Collected, numbers: ReportedNumbers, backbone: str | None) -> Table:
    """Table 1 and the columns of Tables 3 to 6: every arm on every benchmark, reported and reproduced."""
    groups = []
    for benchmark in found.benchmarks:
        rows = []
        for one in found.maestro.arms():
            result = found.results[benchmark, one.name]
            reported = numbers.lookup(benchmark, one.name, "test", "score", backbone=backbone)
            theirs = Cell(write.reported(reported), tone="" if reported else "muted")
            if result.scores is None:
                rows.append([Cell(one.label), theirs, Cell(write.DASH), Cell(write.DASH), Cell(result.skipped)])
                continue
            interval = success_interval(result.scores)
            seeds = ", ".join(write.percent(value) for value in result.scores.mean(axis=1))
            rows.append(
                [
                    Cell(one.label, one.name),
                    theirs,
                    Cell(write.percent(interval.mean), tone="strong"),
                    Cell(write.span(interval.low, interval.high)),
                    Cell(seeds),
                ]
            )
        items = next(
            (len(r.per_item) for (b, _), r in found.results.items() if b == benchmark and r.scores is not None), 0
        )
        groups.append(Group(f"{found.title(benchmark)} · {found.metric(benchmark)}, {items} items", rows))
    columns = [
        Column("Arm", numeric=False),
        Column("Reported, %"),
        Column("Reproduced, %"),
        Column("95 % interval"),
        Column("by seed"),
    ]
    notes = [f"Reported {write.DASH}: the paper has no number of this arm on this benchmark."]
    return Table(
        "results",
        "Tables 1 and 3 to 6: every arm",
        columns,
        groups,
        lead=JUDGED if found.maestro.judged else SUBSTITUTE,
        notes=notes,
    )


def macros(found: Collected, numbers: ReportedNumbers, backbone: str) -> tuple[Table, list[Macro], dict[str, Gain]]:
    """Macro means over the benchmarks that all arms were run on, and MAESTRO's gain over each arm."""
    rows, means, gains = [], [], {}
    printed = numbers.content["derived"]["macro_mean"].get(backbone, {})
    ours = _all(found, "ours")
    for one in found.maestro.arms():
        results_of = _all(found, one.name)
        if results_of is None:
            continue
        mean = macro(results_of)
        means.append(mean)
        cells = [
            Cell(one.label),
            Cell(f"{printed[one.name]:.2f}" if one.name in printed else write.DASH, tone="muted"),
            Cell(write.percent(mean.mean), tone="strong"),
            Cell(write.span(mean.low, mean.high)),
        ]
        if ours is not None and one.name != "ours":
            over = gains[one.name] = macro_gain(ours, results_of)
            cells += [Cell(write.points(over.difference), write.difference_span(over.low, over.high))]
            cells += [Cell(", ".join(write.points(value) for value in over.per_seed))]
        else:
            cells += [Cell(write.DASH), Cell(write.DASH)]
        rows.append(cells)
    columns = [
        Column("Arm", numeric=False),
        Column("Reported over seven, %"),
        Column("Reproduced, %"),
        Column("95 % interval"),
        Column("MAESTRO's gain, points"),
        Column("by seed"),
    ]
    names = ", ".join(found.title(benchmark) for benchmark in found.benchmarks)
    lead = (
        f"Mean over {names}, each with the same weight. Intervals: bootstrap over items within each benchmark, "
        "paired for gains. The paper's mean is over its seven benchmarks and was worked out from its table."
    )
    return Table("macro", "Macro mean", columns, [Group("", rows)], lead=lead), means, gains


def _all(found: Collected, method: str) -> list[Result] | None:
    results_of = [found.ran(benchmark, method) for benchmark in found.benchmarks]
    return None if any(one is None for one in results_of) else [one for one in results_of if one is not None]


def claims(judged: Sequence[Judged], found: Collected) -> Table:
    """The paper's claims and what became of them."""
    groups: dict[str, list[list[Cell]]] = {}
    for one in judged:
        ours = one.gain
        groups.setdefault(found.title(one.claim.environment), []).append(
            [
                Cell(one.claim.text),
                Cell(write.points(one.reported), "implied" if one.claim.basis == "implied" else ""),
                Cell(
                    write.points(ours.difference if ours else None),
                    write.difference_span(ours.low, ours.high) if ours else "",
                ),
                Cell(one.verdict, tone=TONES[one.verdict]),
                Cell(one.why),
            ]
        )
    columns = [
        Column("Claim", numeric=False, wide=True),
        Column("Paper, points"),
        Column("Here, points"),
        Column("Verdict", numeric=False),
        Column("Why", numeric=False, wide=True, brief=False),
    ]
    lead = (
        "Reproduced: the 95 % bootstrap interval over items and seeds, paired by item, is above zero, so is "
        "the difference under every seed, and Holm's corrected p is at most 0.05. Direction only: above zero."
    )
    shown = [Group(name, rows) for name, rows in groups.items()]
    return Table("claims", "Claims of the paper", columns, shown, lead=lead)


def conductor(found: Collected, numbers: ReportedNumbers, backbone: str | None) -> Table:
    """Table 2: response length and training time with and without the Conductor."""
    groups = []
    for benchmark in found.benchmarks:
        ours, without = found.ran(benchmark, "ours"), found.ran(benchmark, WITHOUT)
        if ours is None or without is None:
            continue
        printed = numbers.content["derived"]["time_change_percent"].get(benchmark)
        rows = []
        for name, values, reference, unit in (
            ("training time", ours.training_s, without.training_s, "s"),
            ("response length", ours.response_tokens, without.response_tokens, "tokens"),
        ):
            change = float(np.mean(values)) / float(np.mean(reference)) - 1
            by_seed = [a / b - 1 for a, b in zip(values, reference, strict=True)]
            paper = _change(printed / 100) if printed is not None and unit == "s" else write.DASH
            rows.append(
                [
                    Cell(name),
                    Cell(f"{np.mean(values):.1f} {unit}"),
                    Cell(f"{np.mean(reference):.1f} {unit}"),
                    Cell(_change(change), tone="strong"),
                    Cell(", ".join(map(_change, by_seed))),
                    Cell(paper, tone="muted"),
                ]
            )
        groups.append(Group(found.title(benchmark), rows))
    columns = [
        Column("", numeric=False),
        Column("with Conductor"),
        Column("without"),
        Column("change"),
        Column("by seed"),
        Column("paper"),
    ]
    lead = (
        "MAESTRO against equal weights on the same five rewards. The paper says -20 % to +7 % of training time. "
        "Length: tokens of greedy answers to the test. Times are of this machine, as busy as it was."
    )
    return Table("conductor", "Table 2: what the Conductor costs", columns, groups, lead=lead)


def _change(share: float) -> str:
    return f"{100 * share:+.1f} %".replace("-", "−")


def costs(found: Collected) -> Table:
    """What each arm took, beside its score."""
    groups = []
    for benchmark in found.benchmarks:
        rows = []
        for one in found.maestro.arms():
            result = found.ran(benchmark, one.name)
            if result is None:
                continue
            spent = result.costs
            rows.append(
                [
                    Cell(one.label),
                    Cell(write.percent(float(result.per_item.mean()))),
                    Cell(
                        write.duration(float(np.mean(result.training_s)) if one.seeded else None),
                        ", ".join(f"{name} {write.duration(value)}" for name, value in result.phases.items()),
                    ),
                    Cell(write.quantity(spent["tokens_trained"])),
                    Cell(write.quantity(spent["tokens_generated"])),
                    Cell(write.quantity(spent["flops"])),
                    Cell(write.energy(spent["energy_kwh"])),
                    Cell(f"{np.mean(result.response_tokens):.1f}"),
                    Cell(write.percent(float(np.mean(result.format_share)))),
                ]
            )
        groups.append(Group(found.title(benchmark), rows))
    names = ("Score, %", "Training", "tokens trained", "generated", "FLOPs", "energy", "answer, tokens", "in format, %")
    columns = [Column("Arm", numeric=False), *(Column(name) for name in names)]
    lead = "Mean over seeds, training and evaluation. Energy is codecarbon's estimate; a dash was not measured."
    return Table("costs", "Cost beside score", columns, groups, lead=lead)


def weights(found: Collected) -> Table:
    """Figure 3 as numbers: the mean weight of each reward over the last quarter of the steps."""
    groups = []
    for benchmark in found.benchmarks:
        rows = []
        for one in found.maestro.arms():
            result = found.ran(benchmark, one.name)
            if result is None or not one.conductor or not result.weights:
                continue
            names = result.weights[0][0]
            last = np.mean(
                [history[-max(1, round(len(history) / 4)) :].mean(axis=0) for _, history in result.weights], 0
            )
            rows.append([Cell(one.label), *(Cell(f"{value:.3f}", bar=float(value)) for value in last)])
            columns = names
        if rows:
            groups.append((found.title(benchmark), rows, columns))
    heads = list(dict.fromkeys(name for _, _, names in groups for name in names))
    lead = (
        "What the Conductor would give each reward, mean over seeds and the last quarter of the steps; it starts at "
        "equal weights. The paper's words: entropy highest on SS-GEN, perplexity dominant on WebInstruct; no numbers."
    )
    return Table(
        "weights",
        "Figure 3: the Conductor's weights",
        [Column("Arm", numeric=False), *(Column(name) for name in heads)],
        [Group(title, rows) for title, rows, _ in groups],
        lead=lead,
    )


def preference(found: Collected) -> Table:
    """How good the preference model is, on pairs that it has not seen."""
    groups = []
    for benchmark in found.benchmarks:
        known = found.preference[benchmark]
        if "accuracy" in known:
            span = write.span(known["low"], known["high"])
            kinds = ", ".join(f"{name} {write.percent(share, 0)}" for name, share in known["by_kind"].items())
            row = [Cell(f"{known['held_out_pairs']}"), Cell(write.percent(known["accuracy"]), span), Cell(kinds)]
            groups.append(Group(found.title(benchmark), [row]))
    columns = [Column("held-out pairs"), Column("right, %"), Column("by kind of the worse one, %", numeric=False)]
    lead = "Pairs: a row's own solution above a spoiled one. A stand-in for a reward model such as Skywork-Reward."
    return Table("preference", "The preference model", columns, groups, lead=lead)


def every_gain(found: Collected) -> list[dict[str, object]]:
    """Every pair of arms on every benchmark, for comparison.json."""
    rows: list[dict[str, object]] = []
    for benchmark in found.benchmarks:
        ran = [one for one in (found.ran(benchmark, arm.name) for arm in found.maestro.arms()) if one is not None]
        for place, b in enumerate(ran):
            for a in ran[place + 1 :]:
                one = gain(a, b)
                rows.append({"benchmark": benchmark, "a": a.arm.name, "b": b.arm.name, **vars(one)})
    return rows
