"""A row for every arm, panel and metric: what was reproduced, and why the rest was not run."""

from __future__ import annotations

from encore import arbitration
from encore.errors import UserError
from encore.report import build
from encore.report.comparison import Meta, Row
from encore.report.reported import ReportedNumbers
from experiments.prism import collect
from experiments.prism.settings import PrismSettings

NOT_CHOSEN = "it is not in prism.methods"
NOT_SWEPT = "the sweep is off; `encore profile use PROFILE prism.full=true` turns it on"
PANELS = {"alfworld": ("seen", "unseen"), "webshop": ("test",)}  # of the paper


def rows(
    environment: str, prism: PrismSettings, found: collect.Played, numbers: ReportedNumbers, meta: Meta
) -> list[Row]:
    """A row for every arm, panel and metric: of `prism.methods`, and of the paper's arms that were not chosen."""
    absent = {method: NOT_SWEPT if "_rl" in method else NOT_CHOSEN for method in arms_of_paper(environment, numbers)}
    reasons = {method: reason for method, reason in absent.items() if method not in prism.methods} | found.skipped
    metrics = collect.METRICS[environment]
    made = []
    for panel in found.panel_names or PANELS[environment]:
        for metric in metrics:
            for method in dict.fromkeys([*prism.methods, *reasons]):
                at = (environment, method, panel)
                played = found.panels.get(method, {}).get(panel)
                if played is None:
                    if method in prism.methods or panel in PANELS[environment]:
                        reason = reasons.get(method, collect.NOT_STARTED)
                        made.append(
                            build.skipped_row(
                                *at,
                                reason,
                                label=_label(method, numbers),
                                metric=metric,
                                numbers=numbers,
                                backbone=meta.reported_backbone,
                            )
                        )
                    continue
                made.append(
                    build.result_row(
                        *at,
                        played.outcomes[metric],
                        label=_label(method, numbers),
                        metric=metric,
                        task_types=played.task_types if environment == "alfworld" else None,
                        numbers=numbers,
                        backbone=meta.reported_backbone,
                        same_scale=meta.same_scale,
                    )
                )
    return made


def arms_of_paper(environment: str, numbers: ReportedNumbers) -> list[str]:
    """Arms that the paper's tables print or its figures show in an environment."""
    printed = {key[1] for key in numbers.values if key[0] == environment and key[2] in PANELS[environment]}
    shown = {name for figure in numbers.figures if figure.environment == environment for name in figure.methods}
    return [method for method in numbers.methods if method in printed | shown]


def _label(method: str, numbers: ReportedNumbers) -> str:
    try:
        return arbitration.arm(method).label
    except UserError:  # an arm of the paper that this Encore does not have
        return numbers.methods.get(method, method)
