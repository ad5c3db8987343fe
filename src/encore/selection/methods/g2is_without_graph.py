"""G2IS without its walk (the paper's ablation): each component takes the samples most along it, without constraints.

What the paper put in place of the graph is not published; this keeps components, weights and budgets, and nothing else.
"""

from encore.selection import gradients_at
from encore.selection.context import SelectionContext
from encore.selection.principal import core_knowledge
from encore.selection.selected import Selection, best, largest_remainder
from encore.selection.walk_options import WalkOptions


class Method:
    name = "g2is_without_graph"
    label = "G2IS without graph"

    def skip(self, context: SelectionContext) -> str | None:
        return gradients_at.missing(context)

    def select(self, context: SelectionContext) -> Selection:
        chosen = context.choices(
            **WalkOptions().core_options(), adam=gradients_at.ADAM, checkpoint=-1, unit_targets=False
        )
        targets = gradients_at.target_rows(context, chosen["checkpoint"], chosen["unit_targets"])
        core = core_knowledge(targets, **WalkOptions.of(chosen).core())
        rows = gradients_at.pool_rows(context, chosen["adam"], chosen["checkpoint"])
        affinity = rows.cosines(core.components).cpu().numpy()
        indices: list[int] = []
        reasons: list[dict[str, object]] = []
        shares = largest_remainder(context.budget, core.weights.tolist())
        for component, share in enumerate(shares):
            more, why = best(affinity[component], share, excluded={*indices, *context.excluded})
            indices += more
            reasons += [{"component": component, "budget": share, **reason} for reason in why]
        return Selection(indices, reasons, chosen | {"budgets": shares, "weights": core.weights.tolist()})
