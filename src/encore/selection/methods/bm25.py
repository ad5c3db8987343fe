"""BM25: the examples that share the targets' rarest words.

Source: Okapi BM25 as the package rank_bm25 computes it: words are what white space separates, in lower case; a negative
idf is replaced by a quarter of the mean idf; k1 = 1.5, b = 0.75. The score is linear in the words of a query, so the
mean over all targets is one product with their word counts.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from encore.selection.context import SelectionContext
from encore.selection.selected import Selection, best

_FLOOR = 0.25
_DECIMALS = 10


class Method:
    name = "bm25"
    label = "BM25"

    def skip(self, context: SelectionContext) -> str | None:
        return None

    def select(self, context: SelectionContext) -> Selection:
        chosen = context.choices(k1=1.5, b=0.75)
        scores = mean_scores(context.pool_texts, context.target_texts, **chosen)
        return Selection(*best(scores.round(_DECIMALS), context.budget, excluded=context.excluded), chosen)


def mean_scores(
    pool: Sequence[str], targets: Sequence[str], k1: float = 1.5, b: float = 0.75
) -> Float[np.ndarray, " examples"]:
    """Mean over the targets of the BM25 score of each pool text for that target as the query.

    idf(w) = ln(N − n_w + ½) − ln(n_w + ½); score = Σ_w idf(w) f (k1 + 1) / (f + k1 (1 − b + b |d| / mean |d|)), over
    the words of the target, repeats included.
    """
    words: dict[str, int] = {}
    texts = [[words.setdefault(word, len(words)) for word in text.lower().split()] for text in pool]
    lengths = np.array([len(text) for text in texts])
    columns = np.fromiter((word for text in texts for word in text), np.int64)
    rows = np.repeat(np.arange(len(texts)), lengths)
    counts = csr_array((np.ones(len(columns)), (rows, columns)), shape=(len(texts), max(1, len(words))))
    counts.sum_duplicates()
    within = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log(len(texts) - within + 0.5) - np.log(within + 0.5)
    idf = np.where(idf < 0, _FLOOR * idf.mean(), idf)
    queries = np.zeros(counts.shape[1])
    for text in targets:
        for word in text.lower().split():
            if word in words:
                queries[words[word]] += 1
    saturation = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9))
    owners = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
    counts.data *= (k1 + 1) / (counts.data + saturation[owners])
    return counts @ (idf * queries) / len(targets)
