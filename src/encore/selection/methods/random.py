"""The control: examples drawn at random, without regard to the targets.

With `within="target_families"` it is the opposite control, an oracle: at random among the examples of the families that
the targets are of, which no method is told. Where that is no better than chance from the whole pool, no choice among
these examples can be expected to help.
"""

from encore.selection.context import SelectionContext
from encore.selection.selected import Selection, best


class Method:
    name = "random"
    label = "Random"

    def skip(self, context: SelectionContext) -> str | None:
        if context.parameters.get("within", "pool") == "pool":
            return None
        missing = context.missing("pool_families", "target_families")
        if missing is None and not set(context.pool_families or ()) & set(context.target_families or ()):
            return "needs a family that pool and targets share"
        return missing

    def select(self, context: SelectionContext) -> Selection:
        chosen = context.choices(within=("pool", "target_families"))
        excluded = set(context.excluded)
        if chosen["within"] == "target_families":
            wanted = set(context.target_families or ())
            excluded |= {place for place, family in enumerate(context.pool_families or ()) if family not in wanted}
        scores = context.random.random(context.n)
        return Selection(*best(scores, context.budget, excluded=excluded), chosen)
