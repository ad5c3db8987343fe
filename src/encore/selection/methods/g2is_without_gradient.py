"""G2IS without gradients (the paper's ablation): the identical walk on sentence embeddings of pool and targets."""

from encore.selection.context import SelectionContext
from encore.selection.rows import UnitRows, whole
from encore.selection.selected import Selection
from encore.selection.walk_options import WalkOptions
from encore.selection.walking import SEARCH, select_by_walk


class Method:
    name = "g2is_without_gradient"
    label = "G2IS without gradient"

    def skip(self, context: SelectionContext) -> str | None:
        return context.missing("embeddings")

    def select(self, context: SelectionContext) -> Selection:
        chosen = context.choices(**WalkOptions().as_dict(), **SEARCH)
        assert context.embeddings is not None
        targets = whole(context.embeddings(context.target_texts), "target")
        pool = context.embeddings(context.pool_texts)
        return select_by_walk(context, UnitRows(pool), targets, chosen)
