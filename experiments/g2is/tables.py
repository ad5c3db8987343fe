"""The tables of the comparison, as `encore.report.tables.Table`, which the page, Markdown and terminal all render."""

from __future__ import annotations

from typing import Any

import numpy as np

from encore.report import numbers as write
from encore.report.tables import Cell, Column, Group, Table
from encore.report.verdict import DIRECTION, NOT_REPRODUCED, NOT_RUN, REPRODUCED
from encore.statistics import mean_interval
from experiments.g2is import claims, collect
from experiments.g2is.collect import Arm, Collected, Preparation
from experiments.g2is.paired import Gain, gain
from experiments.g2is.reported import Reported

REFERENCE = "random"
EXACT = {  # by g2is.evaluate.by
    "own": "exact match, greedy decoding would give the reference, with its end, token for token",
    "lm_eval": "by lm-evaluation-harness on the same rows: the likeliest choice, or a generated answer or its number",
    "lm_eval_tasks": "by lm-evaluation-harness's own task where it has one, on other rows than those of the loss",
}
NONE_RIGHT = "neither answers one right, which says nothing"
TONES = {"better": "good", "worse": "bad"}
CLAIM_TONES = {REPRODUCED: "good", DIRECTION: "partly", NOT_REPRODUCED: "bad", NOT_RUN: "muted"}


def share(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def results(found: Collected) -> Table:
    """Every arm on every target at every fraction, and its gain over a random choice of as many examples."""
    g2is = found.g2is
    groups = []
    for target in g2is.targets:
        for fraction in sorted({*g2is.fractions, *g2is.curve}):
            rows = []
            for method in g2is.methods:
                at_all = fraction in g2is.fractions or method in g2is.curve_methods
                if at_all:
                    rows.append(_result(found, method, target, fraction))
            groups.append(Group(f"{found.domains[target]} · {target} · {share(fraction)}", rows))
    columns = [
        Column("Arm", numeric=False),
        Column("examples"),
        Column("exact, %"),
        Column("accuracy, %"),
        Column("loss, nats"),
        Column("gain, exact"),
        Column("gain, loss"),
        Column("verdict (loss)", numeric=False),
        Column("p (loss)"),
        Column("by seed (loss)", brief=False),
    ]
    notes = [
        f"Exact: {EXACT[g2is.evaluate.by]}. Accuracy: share "
        "of the reference's tokens that are the most likely ones. Loss: mean cross-entropy of the reference's tokens. "
        "± is the standard error over examples, each averaged over seeds.",
        "Gains: over the random choice of as many examples, in points and nats, mean over seeds, 95 % bootstrap over "
        "examples with seeds nested. Better or worse: the interval is on one side of zero and so is every seed. No p "
        "is corrected for the number of tests.",
    ]
    notes += not_run(found)
    return Table("results", "Results by target", columns, groups, notes=notes)


def not_run(found: Collected) -> list[str]:
    """Which arms did not run, why, and for which targets, if it is not all of them."""
    places: dict[tuple[str, str], dict[str, None]] = {}
    for arm in found.arms:
        if not arm.ran:
            places.setdefault((found.g2is.label(arm.method), arm.skipped), {})[arm.target] = None
    told = []
    for (label, reason), targets in places.items():
        where = "" if set(targets) == set(found.g2is.targets) else f" for {', '.join(targets)}"
        told.append(f"{label} was not run{where}: it {reason}.")
    return told


def _result(found: Collected, method: str, target: str, fraction: float) -> list[Cell]:
    arm = found.find(method, target, fraction)
    label = Cell(found.g2is.label(method), method)
    if arm is None:
        return [label, *[Cell(write.DASH)] * 6, Cell("not run", tone="muted"), *[Cell(write.DASH)] * 2]
    random = found.find(REFERENCE, target, fraction)
    gains = None if random is None or method == REFERENCE else {m: _gain(arm, random, m) for m in ("exact", "loss")}
    return [
        label,
        Cell(f"{arm.facts['examples']:.0f}"),
        Cell(write.percent(_mean(arm, "exact")), f"± {100 * _error(arm, 'exact'):.1f}"),
        Cell(write.percent(_mean(arm, "accuracy")), f"± {100 * _error(arm, 'accuracy'):.1f}"),
        Cell(f"{-_mean(arm, 'loss'):.3f}", f"± {_error(arm, 'loss'):.3f}"),
        *_gains(gains),
    ]


def _gains(gains: dict[str, Gain] | None) -> list[Cell]:
    if gains is None:
        return [Cell(write.DASH)] * 5
    exact, loss = gains["exact"], gains["loss"]
    return [
        Cell(write.points(exact.difference), write.difference_span(exact.low, exact.high)),
        Cell(signed(loss.difference), f"{signed(loss.low)} to {signed(loss.high)}"),
        Cell(loss.verdict, tone=TONES.get(loss.verdict, "")),
        Cell(write.probability(loss.p)),
        Cell(", ".join(signed(value) for value in loss.per_seed)),
    ]


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", write.MINUS)


def _gain(a: Arm, b: Arm, metric: str) -> Gain:
    return gain(a.scores[metric], b.scores[metric])


def _mean(arm: Arm, metric: str) -> float:
    return float(arm.scores[metric].mean())


def _error(arm: Arm, metric: str) -> float:
    return mean_interval(arm.scores[metric].mean(axis=0)).sem


def by_domain(found: Collected) -> Table:
    """Exact match and loss by domain: the mean over a domain's targets."""
    domains = list(dict.fromkeys(found.domains.values()))
    groups = []
    for fraction in found.g2is.fractions:
        rows = []
        for method in found.g2is.methods:
            cells = [Cell(found.g2is.label(method), method)]
            for domain in domains:
                targets = [name for name, of in found.domains.items() if of == domain]
                arms = [found.find(method, target, fraction) for target in targets]
                ran = [arm for arm in arms if arm is not None]
                if len(ran) < len(arms):
                    cells.append(Cell(write.DASH, tone="muted"))
                    continue
                exact, loss = (float(np.mean([_mean(arm, metric) for arm in ran])) for metric in ("exact", "loss"))
                cells.append(Cell(write.percent(exact), f"loss {-loss:.3f}"))
            rows.append(cells)
        groups.append(Group(share(fraction), rows))
    columns = [Column("Arm", numeric=False), *(Column(f"{domain}, exact %") for domain in domains)]
    wanted = ("medicine", "finance", "law", "maths", "reasoning")
    absent = [domain for domain in wanted if domain not in domains]
    notes = [f"Not run: no target of {', '.join(absent)} is in g2is.targets."] if absent else []
    return Table("domains", "By domain", columns, groups, notes=notes)


def claims_table(judged: list[claims.Judged], found: Collected, numbers: Reported) -> Table:
    """The paper's claims on this run's targets."""
    groups = []
    for claim in numbers.claims:
        reported, tasks, firm = claims.range_of(claim, numbers)
        detail = f"{tasks} tasks of Table {claim.table}, firm on {firm}" if tasks else "follows from the argument"
        rows = []
        own = [one for one in judged if one.claim == claim]
        if not any(one.gain for one in own):
            name, verdict = Cell("every target and share"), Cell(own[0].verdict, tone="muted")
            rows.append([name, Cell(write.DASH), Cell(reported, detail), Cell(write.DASH), verdict])
            own = []
        for one in own:
            here = Cell(write.DASH)
            if one.gain is not None:
                if one.metric == "exact":
                    span = write.difference_span(one.gain.low, one.gain.high)
                    arms = [found.ran(method, one.target, one.fraction) for method in (claim.a, claim.b)]
                    if not any(arm.scores["exact"].any() for arm in arms):
                        span = NONE_RIGHT
                    here = Cell(f"{write.points(one.gain.difference)} points", span)
                else:
                    span = f"{signed(one.gain.low)} to {signed(one.gain.high)}"
                    here = Cell(f"{signed(one.gain.difference)} nats", span)
            rows.append(
                [
                    Cell(f"{one.target}, {share(one.fraction)}"),
                    Cell("exact match" if one.metric == "exact" else "loss"),
                    Cell(reported, detail),
                    here,
                    Cell(one.verdict, tone=CLAIM_TONES.get(one.verdict, "")),
                ]
            )
        names = f"{found.g2is.label(claim.a)} above {_label(found, claim.b)}"
        groups.append(Group(f"{claim.text} ({names})", rows))
    columns = [
        Column("Target", numeric=False),
        Column("by", numeric=False),
        Column("Reported, points"),
        Column("Reproduced"),
        Column("Verdict", numeric=False),
    ]
    lead = (
        "Reproduced: above here, the interval and every seed above zero, and p at most 5 % after Holm's correction "
        "over the claims judged by the same metric. Direction only: above here, and one of these fails. The paper's "
        "differences are of other targets and another model; a verdict is about the direction here."
    )
    return Table("claims", "Claims of the paper", columns, groups, lead=lead)


def _label(found: Collected, method: str) -> str:
    return found.g2is.label(method)


def paper_tables(rows: list[claims.Beside], found: Collected, numbers: Reported) -> Table:
    """Tables A and B of the paper, number by number."""
    groups = []
    for table in numbers.tables.values():
        lines = [
            [
                Cell(one.task),
                Cell(numbers.methods[one.method], one.method),
                Cell(f"{one.reported.value:.2f}"),
                Cell(write.percent(one.reproduced), write.span(one.low, one.high)),
                Cell(one.verdict, tone="muted"),
            ]
            for one in rows
            if one.table == table.id
        ]
        groups.append(Group(f"{table.title} ({table.source})", lines))
    columns = [
        Column("Task", numeric=False),
        Column("Arm", numeric=False),
        Column("Reported, %"),
        Column("Reproduced, %"),
        Column("Verdict", numeric=False),
    ]
    return Table("paper", "The paper's tables", columns, groups, notes=[*numbers.statements])


def multi_target(found: Collected) -> Table:
    """One model for all targets beside one model a target, at the same number of examples."""
    g2is = found.g2is
    fraction = max(g2is.fractions)
    groups = []
    for target in g2is.targets:
        rows = []
        for method in g2is.multi_target_methods:
            own = found.find(method, target, fraction)
            for setting in g2is.multi_target:
                arm = found.find(method, target, fraction, setting)
                if arm is None:
                    continue
                cells = [Cell(g2is.label(method), method), Cell(setting)]
                cells += [Cell(write.percent(_mean(arm, "exact"))), Cell(f"{-_mean(arm, 'loss'):.3f}")]
                rival = found.find(REFERENCE, target, fraction, setting)
                for other in (own, None if method == REFERENCE else rival):
                    if other is None:
                        cells.append(Cell(write.DASH))
                        continue
                    tested = _gain(arm, other, "loss")
                    span = f"{signed(tested.low)} to {signed(tested.high)}"
                    cells.append(Cell(signed(tested.difference), span, tone=TONES.get(tested.verdict, "")))
                rows.append(cells)
        groups.append(Group(f"{target} · {share(fraction)}", rows))
    columns = [
        Column("Arm", numeric=False),
        Column("Setting", numeric=False),
        Column("exact match, %"),
        Column("loss, nats"),
        Column("gain in loss over its single-target model"),
        Column("gain in loss over random"),
    ]
    lead = "pooled: the validation rows of all targets are one set; union: each target chooses an equal share."
    return Table("multi", "Several targets at once", columns, groups, lead=lead)


def costs(found: Collected, prepared: Preparation, chosen: list[dict[str, Any]]) -> Table:
    """What an arm costs at the largest fraction, beside its score: the mean over targets and seeds."""
    g2is = found.g2is
    fraction = max(g2is.fractions)
    rows = []
    for method in g2is.methods:
        arms = [arm for target in g2is.targets if (arm := found.find(method, target, fraction)) is not None]
        if not arms:
            rows.append([Cell(g2is.label(method), method), Cell("not run", tone="muted"), *[Cell(write.DASH)] * 9])
            continue
        stores, representations = needs(g2is, method, prepared)
        select_s = max((row["seconds"] for row in chosen if row["method"] == method), default=0.0)
        gradients_s = stores * prepared.gradients_s
        before_s = gradients_s + (prepared.warmup_s if stores else 0) + representations * prepared.representations_s
        train_s, energy = (float(np.mean([arm.facts[key] for arm in arms])) for key in ("train_wall_s", "energy_kwh"))
        tokens = float(np.mean([arm.facts["tokens"] for arm in arms]))
        rows.append(
            [
                Cell(g2is.label(method), method + _of(arms, g2is.targets)),
                Cell(write.percent(float(np.mean([_mean(arm, "exact") for arm in arms])))),
                Cell(f"{-float(np.mean([_mean(arm, 'loss') for arm in arms])):.3f}"),
                Cell(write.duration(prepared.warmup_s) if stores else write.DASH),
                Cell(f"{gradients_s / 3600:.4f}" if stores else write.DASH),
                Cell(write.quantity(stores * prepared.store_bytes, "B") if stores else write.DASH),
                Cell(write.duration(select_s)),
                Cell(write.quantity(tokens)),
                Cell(write.duration(train_s)),
                Cell(write.duration(before_s + select_s + train_s)),
                Cell(write.energy(energy)),
            ]
        )
    columns = [
        Column("Arm", numeric=False),
        Column("exact match, %"),
        Column("loss, nats"),
        Column("warmup"),
        Column("gradients, h"),
        Column("store"),
        Column("selection"),
        Column("tokens trained"),
        Column("training"),
        Column("in all"),
        Column("energy of training", brief=False),
    ]
    lead = f"At {share(fraction)}, means over targets and seeds; in all: what one target and seed would take alone."
    notes = [
        "Gradients: one reading of Adam at as many checkpoints as the arm reads, with the target's own. Selection: the "
        "slowest choice, with embedding the pool where sentences are embedded. Energy: codecarbon's estimate.",
    ]
    return Table("costs", "Cost beside score", columns, [Group("", rows)], lead=lead, notes=notes)


def _of(arms: list[Arm], targets: list[str]) -> str:
    """For an arm that did not run for all of `targets`: of which its numbers are."""
    return "" if len(arms) == len(targets) else f", of {', '.join(arm.target for arm in arms)} alone"


def needs(g2is: Any, method: str, prepared: Preparation) -> tuple[int, bool]:
    """Pool stores that an arm reads, and whether it wants losses or hidden states."""
    plugin = g2is.plugin(method)
    if plugin == "less":
        return prepared.checkpoints, False
    if plugin in ("g2is", "g2is_without_graph"):
        return (prepared.checkpoints if g2is.choices(method).get("checkpoint") == "all" else 1), False
    return 0, plugin in ("rds", "perplexity")


def choices_table(found: Collected, sets: dict[tuple[str, str, float], list[dict[str, Any]]]) -> Table:
    """What was chosen: how many, how much of it is of the target's own families, and how like G2IS's choice it is."""
    g2is = found.g2is
    fraction = max(g2is.fractions)
    groups = []
    for target in [*g2is.targets, *g2is.multi_target]:
        own = collect.families(target, g2is)
        reference = {pick["index"] for pick in sets.get(("g2is", target, fraction), [])}
        rows = []
        for (method, of, at), picks in sets.items():
            if of != target or at != fraction or not picks:
                continue
            indices = {pick["index"] for pick in picks}
            relevant = sum(pick["family"] in own for pick in picks) / len(picks)
            shared = len(indices & reference) / len(indices | reference) if reference else None
            via = {name: sum(pick.get("via") == name for pick in picks) for name in ("anchor", "neighbour", "fallback")}
            steps = " · ".join(f"{number} {name}" for name, number in via.items() if number)
            components = len({pick["component"] for pick in picks if "component" in pick})
            families = len({pick["family"] for pick in picks})
            rows.append(
                [
                    Cell(g2is.label(method), method),
                    Cell(str(len(picks))),
                    Cell(write.percent(relevant)),
                    Cell(str(families)),
                    Cell(write.percent(shared)),
                    Cell(f"{components} components: {steps}" if steps else write.DASH),
                ]
            )
        groups.append(Group(f"{target} · {share(fraction)} · first seed", rows))
    columns = [
        Column("Arm", numeric=False),
        Column("chosen"),
        Column("of the target's own families, %"),
        Column("families"),
        Column("shared with G2IS, %"),
        Column("walk", numeric=False),
    ]
    lead = "Shared: intersection over union with the default G2IS. Arms without results were only selected."
    return Table("choices", "What was chosen", columns, groups, lead=lead)
