"""LESS (arXiv 2402.04333): the examples whose step would lower the loss of some subtask the most, over checkpoints."""

from encore.selection import gradients_at
from encore.selection.context import SelectionContext
from encore.selection.influence import subtask_scores
from encore.selection.selected import Selection, best


class Method:
    name = "less"
    label = "LESS"

    def skip(self, context: SelectionContext) -> str | None:
        return gradients_at.missing(context)

    def select(self, context: SelectionContext) -> Selection:
        chosen = context.choices(adam=gradients_at.ADAM)
        scores = subtask_scores(
            context.pool_features[chosen["adam"]],
            context.target_features["sgd"],
            context.checkpoint_weights,
            context.subtasks,
        )
        names: list[str | None] = [*dict.fromkeys(context.subtasks)] or [None]
        winners = scores.argmax(0).tolist()
        about = [{"subtask": names[winner]} for winner in winners]
        return Selection(
            *best(scores.amax(0).cpu().numpy(), context.budget, excluded=context.excluded, about=about), chosen
        )
