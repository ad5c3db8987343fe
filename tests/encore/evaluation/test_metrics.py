"""Checkable metrics: chrF equals sacrebleu's recorded values, options and numbers are read as people write them."""

from __future__ import annotations

import importlib
import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore.benchmarks import Constraint, Item
from encore.errors import UserError
from encore.evaluation.chrf import chrf
from encore.evaluation.metrics import METRICS, NAMES, answer_of, checkable, option_letters, score

# sacrebleu 2.5.1, CHRF().sentence_score(hypothesis, [reference]).score
RECORDED = [
    ("the cat sat", "the cat sat on the mat", 49.59348409966008),
    ("", "a reference", 0.0),
    ("a", "a", 100.0),
    ("ab", "ba", 50.0),
    ("Ez Paganel dolga", "Ez Paganel szakmájába vág - felelte Glenarvan.", 21.351098174146955),
    ("Пора косить!", "-- За погодку убрать!", 12.379797571996445),
    ("the red cup", "the red cup", 100.0),
    ("x", "yz", 0.0),
    ("a hypothesis that is much longer than its reference", "a reference", 46.696646528362976),
    ("  spaced   out ", "spaced out", 100.0),
    ("«Oui», dit-il.", "— Oui, dit-il.", 63.99380043371629),
    ("mo taru keli", "mo tarun keli", 56.72824252508575),
    ("abc", "abcd", 68.86227544910179),
    ("Das ist ein Test", "Dies ist ein Test.", 70.78294401731098),
    ("naïve café", "naive cafe", 39.411375661375665),
    ("e\u0301", "é", 0.0),
    ("Hello", "hello", 54.333333333333336),
    ("1 2 3", "1 2 3 4 5 6", 43.72623574144487),
]


@pytest.mark.parametrize(("hypothesis", "reference", "expected"), RECORDED)
def test_chrf_equals_sacrebleu(hypothesis, reference, expected):
    assert 100 * chrf(hypothesis, reference) == pytest.approx(expected, abs=1e-9)


@given(st.text(max_size=30), st.text(max_size=30))
def test_chrf_is_a_share_and_one_for_the_same_letters(left, right):
    assert 0 <= chrf(left, right) <= 1 + 1e-12
    if left.split():
        assert chrf(left, " ".join(left)) == pytest.approx(1)


@pytest.mark.skipif(importlib.util.find_spec("sacrebleu") is None, reason="sacrebleu is not installed")
@given(st.text(max_size=30), st.text(max_size=30))
def test_chrf_equals_the_installed_sacrebleu(left, right):
    library = importlib.import_module("sacrebleu.metrics").CHRF()
    assert 100 * chrf(left, right) == pytest.approx(library.sentence_score(left, [right]).score, abs=1e-9)


def ask(reference, prompt="Which?\nA. one\nB. two\nC. three", **more):
    return Item("row", prompt, reference, **more)


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("C. Because of it.", ("C",)),
        ("(b)", ("B",)),
        ("b) two", ("B",)),
        ("  D : x", ()),
        ("D: x", ("D",)),
        ("Answer: C", ("C",)),
        ("A nice cat", ()),
        ("B. B. No", ("B",)),
        ("Emotion: A: Delight, Cause: C: He finally", ("A", "C")),
        ("Emotion: (F)\nCause: (b)", ("F", "B")),
        ("Emotion: A: Delight", ("A",)),
        ("none of them", ()),
        ("", ()),
    ],
)
def test_options_as_people_write_them(text, letters):
    assert option_letters(text) == letters


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("B", "B. two", 1),
        ("two.", "B. two", 1),
        ("A. two", "B. two", 0),
        ("", "B. two", 0),
        ("Emotion: A, Cause: C", "Emotion: A: x, Cause: C: y", 1),
        ("Emotion: A, Cause: B", "Emotion: A: x, Cause: C: y", 0),
        ("Emotion: A", "Emotion: A: x, Cause: C: y", 0),
    ],
)
def test_option_match(answer, reference, expected):
    assert METRICS["option_match"](answer, ask(reference)) == expected


def test_option_match_refuses_a_reference_without_option():
    with pytest.raises(UserError, match="row row: its reference 'a long text' names no option"):
        METRICS["option_match"]("A", ask("a long text"))


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("1,600", "$1,600", 1),
        ("3.0", "3", 1),
        ("3.1", "3", 0),
        ("The sunk cost fallacy.", "sunk cost fallacy", 1),
        (r"$\boxed{12}$", "12", 1),
        ("", "12", 0),
        ("12 apples", "12", 0),
        ("-0.5", "- 0.5", 0),
    ],
)
def test_exact_match(answer, reference, expected):
    assert METRICS["exact_match"](answer, ask(reference)) == expected


def test_answer_match_takes_the_rule_that_the_question_asks_for():
    assert METRICS["answer_match"]("two", ask("B")) == 0, "without a text the letter is wanted"
    assert METRICS["answer_match"]("(b) whatever", ask("B")) == 1
    assert METRICS["answer_match"]("a", ask("a", prompt="Which note is the sixth of C major?")) == 1
    assert METRICS["answer_match"]("a) it is", ask("a", prompt="Which note is the sixth of C major?")) == 0


def test_constraints_are_a_share_and_silence_satisfies_none():
    item = ask("I see.", constraints=(Constraint("starts_with", "I"), Constraint("excludes", "must")))
    assert METRICS["constraints"]("I must.", item) == 0.5
    assert METRICS["constraints"]("", item) == 0
    with pytest.raises(UserError, match="has no constraints to check"):
        METRICS["constraints"]("x", ask("y"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>x</think>\n<answer> B </answer>", "B"),
        ("<answer>A</answer><answer>B</answer>", "B"),
        ("<think>x</think> B", "B"),
        ("<answer>B", "B"),
        ("B", "B"),
        ("<think>never ends", "never ends"),
    ],
)
def test_the_answer_of_a_response(text, answer):
    assert answer_of(text) == answer


def test_every_metric_has_a_name_and_unknown_ones_are_refused():
    assert set(NAMES) == set(METRICS)
    with pytest.raises(UserError, match="metric 'bleu' is unknown"):
        score("bleu", "x", ask("y"))


@pytest.mark.parametrize(
    ("reference", "prompt", "expected"),
    [
        ("B", "Which?\na) x\nb) y", True),
        ("42", "How many?", True),
        ("one two three four", "Say", True),
        ("a long explanation of why it is so", "Why?", False),
    ],
)
def test_what_a_rule_can_check(reference, prompt, expected):
    assert checkable(ask(reference, prompt=prompt)) is expected
