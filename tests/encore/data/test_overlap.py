"""The overlap check finds a planted run of 13 words, and nothing where there is none."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore.data import DataSettings, ngram_overlap
from encore.data import target as load_target
from encore.data.local import pool as local_pool
from encore.errors import UserError

WORDS = [f"w{number}" for number in range(5000)]


def texts(number, length, seed):
    """Of words that no other text has."""
    words = WORDS[:]
    random.Random(seed).shuffle(words)
    return [" ".join(words[place * length : (place + 1) * length]) for place in range(number)]


def by_definition(pool, evaluation, n=13):
    """Places of evaluation texts of n words or more that share n words in a row with a pool text."""
    runs = [{tuple(words[i : i + n]) for i in range(len(words) - n + 1)} for words in map(str.split, [*pool])]
    return [
        place
        for place, words in enumerate(map(str.split, evaluation))
        if any(tuple(words[i : i + n]) in found for i in range(len(words) - n + 1) for found in runs)
    ]


@pytest.mark.parametrize(("shared", "hits"), [(12, 0), (13, 1), (14, 1), (40, 1)])
def test_a_planted_run_is_found_from_13_words_on(shared, hits):
    everything = texts(20, 40, seed=0)
    pool, evaluation = everything[:10], everything[10:]
    run = " ".join(evaluation[3].split()[:shared])
    pool[7] = f"before it {run} behind it"
    found = ngram_overlap(pool, evaluation)
    assert (found.evaluated, found.compared, found.hits, found.template_hits) == (10, 10, hits, 0)
    assert [example[:2] for example in found.examples] == [(3, 7)] * hits
    assert all(example[2] in run for example in found.examples)


@given(st.data())
def test_agrees_with_the_definition(data):
    """On words so few that runs collide by chance, with a run of 3 for 13."""
    text = st.lists(st.sampled_from("abc"), min_size=8, max_size=14).map(" ".join)
    pool, evaluation = (data.draw(st.lists(text, min_size=1, max_size=4)) for _ in range(2))
    found = ngram_overlap(pool, evaluation, n=3, template_rows=10**9)
    assert [example[0] for example in found.examples] == by_definition(pool, evaluation, n=3)
    assert found.hits == len(found.examples)


def test_case_and_punctuation_do_not_count():
    text = "The quick brown fox, having nothing better to do, jumps over the lazy dog."
    assert ngram_overlap([text.upper().replace(",", " --")], [text]).hits == 1


def test_short_texts_count_as_a_whole():
    eight = "one two three four five six seven eight"
    assert ngram_overlap([f"so {eight} it goes"], [eight]).hits == 1
    assert ngram_overlap(["so " + eight.replace("five", "5") + " it goes"], [eight]).hits == 0
    seven = eight.removesuffix(" eight")
    found = ngram_overlap([seven], [seven, eight])
    assert (found.compared, found.hits) == (1, 0), "under eight words says nothing"


def test_what_many_rows_share_is_a_template():
    phrase = "give only the number that is the answer and then nothing else at all"
    pool, evaluation = ([f"{text} {phrase}" for text in texts(6, 20, seed)] for seed in (1, 2))
    found = ngram_overlap(pool, evaluation[:2])
    assert (found.hits, found.template_hits) == (0, 2)
    found = ngram_overlap(pool[:5], evaluation[:2])
    assert (found.hits, found.template_hits) == (2, 0)


@pytest.mark.parametrize(("pool", "evaluation", "name"), [([], ["a"], "pool"), (["a"], [], "evaluation")])
def test_nothing_to_compare_is_refused(pool, evaluation, name):
    with pytest.raises(UserError, match=f"the {name} has no text"):
        ngram_overlap(pool, evaluation)


def test_published_gsm8k(shared):
    """Three of its test questions share a phrase with a training question; counted apart from this code."""
    settings = DataSettings(source="local", path=str(shared("data/instruct")), pools=["gsm8k"])
    pool, target = local_pool("gsm8k", settings), load_target("gsm8k", settings)
    found = ngram_overlap([row.prompt for row in pool.rows], [row.prompt for row in target.evaluation])
    assert (found.evaluated, found.hits) == (1319, 3)
