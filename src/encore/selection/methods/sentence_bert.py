"""Sentence-BERT: the examples whose instruction means most nearly what the targets' instructions mean."""

from encore.selection.context import SelectionContext
from encore.selection.selected import Selection, best
from encore.selection.similarity import AGGREGATE, closeness


class Method:
    name = "sentence_bert"
    label = "Sentence-BERT"

    def skip(self, context: SelectionContext) -> str | None:
        return context.missing("embeddings")

    def select(self, context: SelectionContext) -> Selection:
        chosen = context.choices(aggregate=AGGREGATE)
        assert context.embeddings is not None
        targets = context.embeddings(context.target_prompts or context.target_texts)
        pool = context.embeddings(context.pool_prompts or context.pool_texts)
        scores = closeness(pool, targets, chosen["aggregate"])
        return Selection(*best(scores.cpu().numpy(), context.budget, excluded=context.excluded), chosen)
