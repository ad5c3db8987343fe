"""The whole pool, in its order, whatever the fraction: what a selection is to match at a part of the cost."""

from encore.selection.context import SelectionContext
from encore.selection.selected import Selection


class Method:
    name = "full"
    label = "All data"

    def skip(self, context: SelectionContext) -> str | None:
        return None

    def select(self, context: SelectionContext) -> Selection:
        context.choices()
        chosen = [place for place in range(context.n) if place not in context.excluded]
        return Selection(chosen, [{"rank": rank} for rank in range(len(chosen))])
