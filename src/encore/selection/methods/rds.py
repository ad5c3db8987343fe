"""RDS, representation-based data selection: the examples whose hidden states are closest to the targets'.

Source: the baseline of LESS (arXiv 2402.04333), section 5, after Zhang et al. 2018 and Hanawa et al. 2020.
"""

from encore.selection.context import SelectionContext
from encore.selection.selected import Selection, best
from encore.selection.similarity import AGGREGATE, closeness


class Method:
    name = "rds"
    label = "RDS"

    def skip(self, context: SelectionContext) -> str | None:
        return context.missing("pool_representations", "target_representations")

    def select(self, context: SelectionContext) -> Selection:
        chosen = context.choices(aggregate=AGGREGATE)
        assert context.pool_representations is not None
        assert context.target_representations is not None
        scores = closeness(context.pool_representations, context.target_representations, chosen["aggregate"])
        return Selection(*best(scores.cpu().numpy(), context.budget, excluded=context.excluded), chosen)
