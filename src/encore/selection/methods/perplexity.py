"""Mid-range perplexity: the examples that the model finds neither easy nor hard, nearest the median of the pool.

Source: Marion et al. (arXiv 2309.04564), whose best pruned sets were the middle of the perplexity distribution.
"""

import numpy as np
from scipy.stats import rankdata

from encore.errors import UserError
from encore.selection.context import SelectionContext
from encore.selection.selected import Selection, best


class Method:
    name = "perplexity"
    label = "Perplexity (mid-range)"

    def skip(self, context: SelectionContext) -> str | None:
        return context.missing("losses")

    def select(self, context: SelectionContext) -> Selection:
        chosen = context.choices(centre=0.5)
        if not 0 <= chosen["centre"] <= 1:
            raise UserError(f"centre is {chosen['centre']}: it is a quantile of the perplexities, from 0 to 1")
        losses = np.asarray(context.losses, dtype=np.float64)
        if not np.isfinite(losses).all():
            raise UserError(f"the loss of pool example {int((~np.isfinite(losses)).argmax())} is not finite: drop it")
        quantiles = (rankdata(losses) - 0.5) / len(losses)
        about = [{"perplexity": float(value)} for value in np.exp(losses)]
        scores = np.round(-np.abs(quantiles - chosen["centre"]), 12)  # equally far on both sides is a tie
        return Selection(*best(scores, context.budget, excluded=context.excluded, about=about), chosen)
