"""A walk as a selection: shared by G2IS and the ablation that walks on other rows than gradients."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jaxtyping import Float
from torch import Tensor

from encore.selection.context import SelectionContext
from encore.selection.neighbours import faiss_lists, recall
from encore.selection.principal import Core, core_knowledge
from encore.selection.rows import Rows
from encore.selection.selected import Selection
from encore.selection.walk import Walk, walk
from encore.selection.walk_options import WalkOptions

SEARCH = {"search": ("exact", "faiss"), "probes": 16}
"""Where neighbour lists come from; see `neighbours`."""
_RECALL_SAMPLE = 64


def select_by_walk(
    context: SelectionContext, rows: Rows, targets: Float[Tensor, "targets dim"], chosen: dict[str, Any]
) -> Selection:
    """Walks on `rows` towards the principal components of `targets`, by the choices `chosen`."""
    options = WalkOptions.of(chosen)
    core = core_knowledge(targets, **options.core())
    lists = None
    if chosen["search"] == "faiss":
        lists = faiss_lists(rows, options.neighbours, probes=chosen["probes"], seed=context.seed)
    found = walk(rows, core, context.budget, options, excluded=context.excluded, lists=lists)
    learned: dict[str, Any] = {"components": components(core, found), "readings": found.readings}
    if lists is not None and found.steps:
        learned["recall"] = recall(lists, rows, options.neighbours, found.indices[:_RECALL_SAMPLE])
    reasons = [{key: value for key, value in asdict(step).items() if key != "row"} for step in found.steps]
    return Selection(found.indices, reasons, chosen | learned)


def components(core: Core, found: Walk) -> list[dict[str, float]]:
    """Variance ratio, weight, budget and number of samples of each component."""
    counts = [0] * len(found.budgets)
    for step in found.steps:
        counts[step.component] += 1
    columns = zip(core.ratios.tolist(), core.weights.tolist(), found.budgets, counts, strict=True)
    return [{"ratio": r, "weight": w, "budget": b, "chosen": c} for r, w, b, c in columns]
