"""The control: examples drawn at random, without regard to the targets."""

from encore.selection.context import SelectionContext
from encore.selection.selected import Selection, best


class Method:
    name = "random"
    label = "Random"

    def skip(self, context: SelectionContext) -> str | None:
        return None

    def select(self, context: SelectionContext) -> Selection:
        context.choices()
        indices, reasons = best(context.random.random(context.n), context.budget, excluded=context.excluded)
        return Selection(indices, reasons)
