"""chrF of one sentence (Popovic 2015), equal to sacrebleu's default `CHRF().sentence_score` on recorded cases.

Character n-grams of 1 to 6, white space left out, precision and recall averaged over the orders that both texts have,
and F with beta 2: recall counts four times as much as precision.
"""

from __future__ import annotations

from collections import Counter

ORDER, BETA = 6, 2


def chrf(hypothesis: str, reference: str) -> float:
    """chrF of `hypothesis` against `reference`, in [0, 1] (sacrebleu prints it in percent). 0 where nothing matches."""
    left, right = "".join(hypothesis.split()), "".join(reference.split())
    precision = recall = 0.0
    orders = min(ORDER, len(left), len(right))
    for size in range(1, orders + 1):
        of_left, of_right = _ngrams(left, size), _ngrams(right, size)
        matched = (of_left & of_right).total()
        precision += matched / of_left.total()
        recall += matched / of_right.total()
    if precision + recall == 0:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def _ngrams(text: str, size: int) -> Counter[str]:
    return Counter(text[start : start + size] for start in range(len(text) - size + 1))
