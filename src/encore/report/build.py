"""From outcomes of episodes to rows and paired tests of a comparison; nothing is read or written here.

`Outcomes` is one list a training seed, all over the same games in the same order: 1 and 0 for success, or rewards
in [0, 1].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from encore.report.comparison import PairedTest, ReportedValue, Row, TypeResult
from encore.report.reported import ReportedNumbers
from encore.report.verdict import NOT_RUN, row_verdict
from encore.statistics import holm, mcnemar, mcnemar_clustered, nested_bootstrap, success_interval

Outcomes = Mapping[int, Sequence[float]]


def result_row(
    environment: str,
    method: str,
    panel: str,
    outcomes: Outcomes,
    *,
    label: str | None = None,
    metric: str = "success",
    task_types: Sequence[str] | None = None,
    numbers: ReportedNumbers | None = None,
    setting: str = "full",
    backbone: str | None = None,
    same_scale: bool = False,
) -> Row:
    """One arm on one panel: mean over seeds, interval over games and seeds (over games alone where there is one seed),
    task types, and the paper's value beside it. The interval has the normal quantile, as the bootstrap of differences.

    `backbone` names the paper's model whose value it is, None its first; those of its others are in `other_reported`.
    `task_types` names the type of each game. Raises ValueError if seeds played different numbers of games.
    """
    seeds = sorted(outcomes)
    played = _matrix(outcomes, seeds, f"{environment} {method} {panel}")
    interval = success_interval(played, over=_over(played), quantile="normal")
    reported, reason, others = None, "", {}
    if numbers is not None:
        reported = numbers.lookup(environment, method, panel, metric, setting=setting, backbone=backbone)
        others = _others(numbers, environment, method, panel, metric, setting, backbone)
        reason = "" if reported else numbers.reason(method, setting)
    row = Row(
        environment=environment,
        method=method,
        label=label or (numbers.methods.get(method, method) if numbers else method),
        panel=panel,
        metric=metric,
        seeds=seeds,
        per_seed=[float(mean) for mean in played.mean(axis=1)],
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        interval=interval.kind,
        episodes=int(played.size),
        wins=float(played.sum()),
        reported=reported,
        reported_reason=reason,
        other_reported=others,
        by_type=_by_type(played, task_types, environment, method, panel, metric, numbers, setting, backbone),
    )
    return dataclasses.replace(row, verdict=row_verdict(row, same_scale=same_scale))


def skipped_row(
    environment: str,
    method: str,
    panel: str,
    reason: str,
    *,
    label: str | None = None,
    metric: str = "success",
    numbers: ReportedNumbers | None = None,
    setting: str = "full",
    backbone: str | None = None,
) -> Row:
    """An arm that did not run, with the reason in place of its number; the paper's value is still shown."""
    reported, others = None, {}
    if numbers is not None:
        reported = numbers.lookup(environment, method, panel, metric, setting=setting, backbone=backbone)
        others = _others(numbers, environment, method, panel, metric, setting, backbone)
    return Row(
        environment=environment,
        method=method,
        label=label or (numbers.methods.get(method, method) if numbers else method),
        panel=panel,
        metric=metric,
        seeds=[],
        per_seed=[],
        mean=None,
        low=None,
        high=None,
        interval="",
        episodes=0,
        wins=0.0,
        reported=reported,
        reported_reason=numbers.reason(method, setting) if numbers and reported is None else "",
        other_reported=others,
        verdict=NOT_RUN,
        skipped=reason,
    )


def paired_test(
    environment: str,
    panel: str,
    a: str,
    b: str,
    outcomes_a: Outcomes,
    outcomes_b: Outcomes,
    *,
    metric: str = "success",
    family: str = "",
    bootstrap_seed: int = 0,
) -> PairedTest:
    """Arm a against arm b on the same games.

    The nested bootstrap draws games and seeds; seeds are drawn together where both arms have the same ones. Single runs
    are paired by seed for `per_seed` and McNemar; an arm with one seed (an untrained base has nothing to seed) stands
    against each seed of the other. `clustered_p` is McNemar over all seeds, those of a game together. Raises ValueError
    if the arms played different numbers of games.
    """
    where = f"{environment} {panel}: {a} against {b}"
    seeds_a, seeds_b = sorted(outcomes_a), sorted(outcomes_b)
    runs_a, runs_b = _matrix(outcomes_a, seeds_a, where), _matrix(outcomes_b, seeds_b, where)
    if runs_a.shape[1] != runs_b.shape[1]:
        raise ValueError(f"{where}: {runs_a.shape[1]} and {runs_b.shape[1]} games; pair arms on one panel only")
    result = nested_bootstrap(runs_a, runs_b, pair_seeds=seeds_a == seeds_b, seed=bootstrap_seed)
    if len(seeds_a) == 1 or len(seeds_b) == 1:
        pairs = [(x, y) for x in runs_a for y in runs_b]
    else:
        pairs = [(runs_a[seeds_a.index(seed)], runs_b[seeds_b.index(seed)]) for seed in seeds_a if seed in seeds_b]
    binary = bool(np.isin(runs_a, (0, 1)).all() and np.isin(runs_b, (0, 1)).all())
    return PairedTest(
        environment=environment,
        panel=panel,
        metric=metric,
        a=a,
        b=b,
        difference=result.difference,
        low=result.low,
        high=result.high,
        bootstrap_p=result.p_two_sided,
        n=result.n,
        per_seed=[float(x.mean() - y.mean()) for x, y in pairs],
        mcnemar_p=[mcnemar(x, y).p for x, y in pairs] if binary else [],
        clustered_p=mcnemar_clustered(runs_a, runs_b).p if binary else None,
        family=family,
    )


def corrected(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """The same tests with `adjusted_p`: Holm over all tests of one `family`."""
    adjusted: dict[int, float] = {}
    for family in dict.fromkeys(test.family for test in tests):
        places = [place for place, test in enumerate(tests) if test.family == family]
        adjusted |= dict(zip(places, holm([tests[place].bootstrap_p for place in places]), strict=True))
    return [dataclasses.replace(test, adjusted_p=adjusted[place]) for place, test in enumerate(tests)]


def _over(played: np.ndarray) -> Literal["games", "games_and_seeds"]:
    return "games_and_seeds" if len(played) > 1 else "games"


def _others(
    numbers: ReportedNumbers,
    environment: str,
    method: str,
    panel: str,
    metric: str,
    setting: str,
    backbone: str | None,
) -> dict[str, ReportedValue]:
    names = numbers.backbones()
    found = {
        name: numbers.lookup(environment, method, panel, metric, setting=setting, backbone=name)
        for name in names
        if name != (backbone or names[0])
    }
    return {name: value for name, value in found.items() if value is not None}


def _by_type(
    played: np.ndarray,
    task_types: Sequence[str] | None,
    environment: str,
    method: str,
    panel: str,
    metric: str,
    numbers: ReportedNumbers | None,
    setting: str,
    backbone: str | None,
) -> dict[str, TypeResult]:
    if task_types is None:
        return {}
    if len(task_types) != played.shape[1]:
        raise ValueError(f"{environment} {method} {panel}: {len(task_types)} task types for {played.shape[1]} games")
    names = np.asarray(task_types)
    results = {}
    for name in dict.fromkeys(task_types):  # in order of appearance; renderers sort by the paper's order
        part = played[:, names == name]
        interval = success_interval(part, over=_over(part), quantile="normal")
        reported: ReportedValue | None = None
        if numbers is not None:
            reported = numbers.lookup(environment, method, panel, metric, name, setting=setting, backbone=backbone)
        results[name] = TypeResult(float(part.sum()), int(part.size), interval.low, interval.high, reported)
    return results


def _matrix(outcomes: Outcomes, seeds: Sequence[int], where: str) -> np.ndarray:
    lengths = {len(outcomes[seed]) for seed in seeds}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"{where}: seeds must play the same games and at least one, got {sorted(lengths)} games")
    return np.asarray([list(outcomes[seed]) for seed in seeds], dtype=float)
