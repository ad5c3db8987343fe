"""The sentences at the head of a report: what was run, on what scale, what came of it, and what that cannot say."""

from __future__ import annotations

from encore.report.comparison import Comparison
from encore.report.verdict import NOT_RUN, summary

MOST_NAMED = 16  # arms that a sentence lists
ENVIRONMENTS = {"alfworld": "ALFWorld", "webshop": "WebShop"}


def environment_name(environment: str) -> str:
    """The environment's own spelling."""
    return ENVIRONMENTS.get(environment, environment)


def joined(items: list[str]) -> str:
    """ "a, b and c"."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else "nothing"


def what_was_run(comparison: Comparison) -> str:
    """Arms, environments, panels, seeds and the model, in one or two sentences."""
    rows = [row for row in comparison.rows if not row.skipped]
    if not rows:
        return "Nothing was evaluated yet."
    arms = list(dict.fromkeys(row.label for row in rows))
    places = list(dict.fromkeys(f"{environment_name(row.environment)} {row.panel}" for row in rows))
    most_seeds = max(len(row.seeds) for row in rows)
    seeds = "one training seed" if most_seeds == 1 else f"up to {most_seeds} training seeds an arm"
    named = f" ({joined(arms)})" if len(arms) <= MOST_NAMED else ""
    return (
        f"{len(arms)} arms{named} on {joined(places)}, {seeds}, with {comparison.meta.backbone} "
        f"under the profile “{comparison.meta.profile}”."
    )


def verdict(comparison: Comparison) -> str:
    """The count of verdicts."""
    return summary(comparison.claims)


def caveat(comparison: Comparison) -> str:
    """What the verdict cannot say: the scale is another one, several claims were judged, few seeds ran."""
    meta, rows = comparison.meta, [row for row in comparison.rows if not row.skipped]
    parts = []
    if not meta.same_scale:
        parts.append(
            f"This is not the paper's scale: the paper trained {meta.reported_backbone}, this run {meta.backbone}. A "
            "verdict says whether a direction shows at this scale; it neither confirms nor refutes the paper's own "
            "result, and reported and reproduced values are not subtracted from each other."
        )
    judged = sum(claim.verdict != NOT_RUN for claim in comparison.claims)
    if judged > 1:
        parts.append(
            f"The {judged} claims are judged together: Holm's correction keeps the chance of any false 'reproduced' "
            "among those of a family at 5 %."
        )
    if comparison.cost_claims:
        parts.append("Times are of this machine, as busy as it was.")
    trained = [len(row.seeds) for row in rows if len(row.seeds) > 1]
    if rows and (not trained or min(trained) < 3):
        parts.append("Intervals are over games and seeds; so few seeds say little about training again.")
    return " ".join(parts)
