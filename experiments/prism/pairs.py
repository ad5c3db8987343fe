"""Which arms are tested against which: PRISM's arms against the best baseline, and every pair that the paper compares.

The best baseline of a panel is chosen by its mean on that very panel. The choice favours the baseline, since the best
of several means is partly luck, so that the test is a hard one for PRISM and says nothing in the baseline's favour.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from encore.report import build
from encore.report.comparison import PairedTest, Row
from encore.report.reported import ReportedNumbers
from experiments.prism.collect import Played

CONCENTRATION = ("gini", "kurtosis", "cv")
BASELINES = ("base", "sft", "grpo", "gigpo", "random", "hpt", "hpt_online", "sft_then_rl", "l2")
BEST, CLAIMS, FIGURE_3 = "against the best baseline", "pairs of the paper's claims", "Figure 3"
IMPLIED = "pairs that the paper's argument implies"


def best_baseline(rows: Sequence[Row], environment: str, panel: str, metric: str) -> Row | None:
    """The baseline with the highest mean on a panel, the earlier of equals; None if none was run."""
    means = {
        row.method: (row, row.mean)
        for row in rows
        if (row.environment, row.panel, row.metric) == (environment, panel, metric) and row.mean is not None
    }
    candidates = [means[method] for method in BASELINES if method in means]
    return max(candidates, key=lambda pair: pair[1])[0] if candidates else None


def tests(environment: str, found: Played, rows: Sequence[Row], numbers: ReportedNumbers) -> list[PairedTest]:
    """All paired tests of an environment, by family, not yet corrected."""
    wanted: list[tuple[str, str, str, str, str]] = []  # family, panel, metric, a, b
    places = dict.fromkeys((row.panel, row.metric) for row in rows if row.environment == environment)
    for panel, metric in places:
        best = best_baseline(rows, environment, panel, metric)
        if best is not None:
            wanted += [(BEST, panel, metric, f"prism_{name}", best.method) for name in CONCENTRATION]
    claims = [claim for claim in numbers.claims_of("full") if claim.environment == environment]
    wanted += [
        (IMPLIED if claim.basis == "implied" else CLAIMS, claim.panel, claim.metric, claim.a, claim.b)
        for claim in claims
    ]
    for (panel, metric), name in itertools.product(places, CONCENTRATION):
        wanted += [(FIGURE_3, panel, metric, f"prism_{name}", other) for other in (f"inverse_{name}", "random")]
    made = []
    for family, panel, metric, a, b in dict.fromkeys(wanted):
        of_a, of_b = (found.panels.get(method, {}).get(panel) for method in (a, b))
        if of_a is None or of_b is None or metric not in of_a.outcomes:
            continue
        made.append(
            build.paired_test(
                environment, panel, a, b, of_a.outcomes[metric], of_b.outcomes[metric], metric=metric, family=family
            )
        )
    return made
