"""Checkable scores of open answers, in [0, 1]: substitutes for a judge, and named so wherever they are shown.

MAESTRO scores by majority votes of large models (its prompts are not known). Where no judge is to be had, an answer is
checked by a rule: the option it names, equality with the reference, chrF, or constraints it was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from encore.benchmarks import Item
from encore.errors import UserError
from encore.evaluation.chrf import chrf

CHECKABLE_WORDS = 4  # a reference of so many words may be met word for word

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)
_LETTER = re.compile(r"^\W*([A-J])(?=[.:)\]]|$)", re.IGNORECASE)
_BARE = re.compile(r"^\W*(?:option|answer|choice)?\W*([A-J])\W*$", re.IGNORECASE)
_EMOTION = re.compile(r"emotion\W*\(?([A-J])\b", re.IGNORECASE)
_CAUSE = re.compile(r"cause\W*\(?([A-J])\b", re.IGNORECASE)
_LISTED = re.compile(r"(?:^|\n)\s*\(?([A-J])[.:)]\s*\S", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_MARKUP = re.compile(r"\\(?:boxed|text|mathrm|left|right|displaystyle|!|,|;|:)|[$*_`]|\\\(|\\\)|\\\[|\\\]")


def answer_of(text: str) -> str:
    """What a response answers: the inside of its last <answer>, else what follows </think>, else all of it."""
    found = _ANSWER.findall(text)
    if found:
        return found[-1].strip()
    return text.rpartition("</think>")[2].replace("<think>", "").strip()


def option_letters(text: str) -> tuple[str, ...]:
    """The options that a text names: one letter, or emotion and cause as EmoBench asks for. Empty for none."""
    emotion, cause = _EMOTION.search(text), _CAUSE.search(text)
    if emotion or cause:
        return tuple(found.group(1).upper() for found in (emotion, cause) if found)
    found = _BARE.match(text) or _LETTER.match(text)
    return (found.group(1).upper(),) if found else ()


def option_match(answer: str, item: Item) -> float:
    """1 where the answer names the reference's option by letter, or repeats its text without a letter.

    EmoBench: 1 only if both emotion and cause are right. Raises UserError for a reference that names no option.
    """
    wanted = option_letters(item.reference)
    if not wanted:
        raise UserError(f"row {item.id}: its reference {item.reference[:40]!r} names no option: use another metric")
    named = option_letters(answer)
    if named:
        return float(named == wanted)
    return float(bool(answer.strip()) and normalised(answer) == normalised(_without_letter(item.reference)))


def exact_match(answer: str, item: Item) -> float:
    """1 where answer and reference are the same number, or the same words when case, marks and LaTeX dress are gone."""
    left, right = normalised(answer), normalised(item.reference)
    return float(bool(left) and left == right)


def answer_match(answer: str, item: Item) -> float:
    """`option_match` where the prompt lists options and the reference names one, else `exact_match`."""
    return (option_match if _asks_for_option(item) else exact_match)(answer, item)


def constraints(answer: str, item: Item) -> float:
    """The share of the item's constraints that the answer satisfies; an empty answer satisfies none.

    Raises UserError for an item without constraints.
    """
    if not item.constraints:
        raise UserError(f"row {item.id} has no constraints to check: use another metric")
    if not answer.strip():
        return 0.0
    return sum(one.satisfied(answer) for one in item.constraints) / len(item.constraints)


METRICS: dict[str, Callable[[str, Item], float]] = {
    "option_match": option_match,
    "exact_match": exact_match,
    "answer_match": answer_match,
    "chrf": lambda answer, item: chrf(answer, item.reference),
    "constraints": constraints,
}
NAMES = {
    "option_match": "right option, %",
    "exact_match": "exact match, %",
    "answer_match": "right option or exact match, %",
    "chrf": "chrF",
    "constraints": "constraints satisfied, %",
}
"""What a table calls each; all are substitutes for the paper's judge."""


def score(metric: str, response: str, item: Item) -> float:
    """The score in [0, 1] of a whole response (with thought and tags) under the metric of that name.

    Raises UserError for an unknown metric, or an item that the metric cannot check.
    """
    if metric not in METRICS:
        raise UserError(f"metric '{metric}' is unknown: choose from {', '.join(METRICS)}")
    return METRICS[metric](answer_of(response), item)


def checkable(item: Item) -> bool:
    """Whether a rule can check answers: constraints, an option, a number, or a reference of at most four words."""
    if item.constraints or _asks_for_option(item):
        return True
    return _number(item.reference) is not None or len(item.reference.split()) <= CHECKABLE_WORDS


def normalised(text: str) -> str:
    """Lower case, without LaTeX dress, articles and marks at the ends; a number in its plainest form."""
    text = _MARKUP.sub(" ", text).lower()
    text = re.sub(r"\b(?:a|an|the)\b(?=\s+\w)", " ", text)
    text = " ".join(text.split()).strip(" .,:;!?\"'(){}")
    number = _number(text)
    return text if number is None else format(number.normalize(), "f")


def _number(text: str) -> Decimal | None:
    text = text.strip().rstrip(".")
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None


def _asks_for_option(item: Item) -> bool:
    letters = option_letters(item.reference)
    listed = {letter.upper() for letter in _LISTED.findall(item.prompt)}
    return bool(letters) and len(listed) > 1 and set(letters) <= listed


def _without_letter(reference: str) -> str:
    return re.sub(r"^\W*[A-Ja-j][\s.:)\]]+", "", reference)
