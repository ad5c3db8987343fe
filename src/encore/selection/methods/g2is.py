"""G2IS (arXiv 2502.11062): walks on the gradient graph from the best sample of each principal component of the targets.

The defaults are the authors' code; the paper's own list length K and checkpoint are not published.
"""

from encore.selection import gradients_at
from encore.selection.context import SelectionContext
from encore.selection.selected import Selection
from encore.selection.walk_options import WalkOptions
from encore.selection.walking import SEARCH, select_by_walk


class Method:
    name = "g2is"
    label = "G2IS"

    def skip(self, context: SelectionContext) -> str | None:
        return gradients_at.missing(context)

    def select(self, context: SelectionContext) -> Selection:
        chosen = context.choices(
            **WalkOptions().as_dict(), **SEARCH, adam=gradients_at.ADAM, checkpoint=-1, unit_targets=False
        )
        targets = gradients_at.target_rows(context, chosen["checkpoint"], chosen["unit_targets"])
        rows = gradients_at.pool_rows(context, chosen["adam"], chosen["checkpoint"])
        return select_by_walk(context, rows, targets, chosen)
