"""Stand-ins: the same from the same seed, no question twice, references that their own metric accepts."""

from __future__ import annotations

import itertools
import re

import pytest

from encore.benchmarks import BenchmarkSettings, load, names, procedural, read_items, write_items
from encore.benchmarks.constraints import KINDS, Constraint, sentences
from encore.benchmarks.velic import LEXICON
from encore.errors import UserError
from encore.evaluation.metrics import score

KIND_NAMES = names("procedural")


@pytest.fixture(scope="module")
def made():
    return {name: load(name, BenchmarkSettings(names=[name])) for name in KIND_NAMES}


@pytest.mark.parametrize("name", KIND_NAMES)
def test_no_question_stands_twice_within_or_across_splits(made, name):
    benchmark = made[name]
    questions = [item.question for item in (*benchmark.train, *benchmark.validation, *benchmark.test)]
    assert len(questions) == 400 + 200 + 100 == len(set(questions))


@pytest.mark.parametrize("name", KIND_NAMES)
def test_a_seed_gives_the_same_rows_and_another_seed_others(made, name):
    again = load(name, BenchmarkSettings(names=[name]))
    assert again.train == made[name].train and again.test == made[name].test
    other = load(name, BenchmarkSettings(names=[name], seed=1))
    assert other.test != made[name].test
    longer = load(name, BenchmarkSettings(names=[name], train=450))
    assert longer.test == made[name].test, "a longer training must not change what is tested"


@pytest.mark.parametrize("name", KIND_NAMES)
def test_the_reference_and_the_whole_solution_score_one(made, name):
    for item in made[name].test:
        assert score(made[name].metric, item.reference, item) == 1
        assert score(made[name].metric, item.solution, item) == 1


@pytest.mark.parametrize("name", KIND_NAMES)
def test_another_row_s_answer_is_mostly_wrong(made, name):
    rows = made[name].test
    strays = [score(made[name].metric, other.reference, item) for item, other in itertools.pairwise(rows)]
    assert sum(value == 1 for value in strays) < 0.5 * len(strays)


def test_reasoning_takes_both_of_its_steps(made):
    for item in made["reasoning"].train:
        person = re.search(r"Where is what (\w+) has", item.prompt).group(1)
        thing = re.search(rf"{person} has the (\w+)\.", item.prompt).group(1)
        assert item.thought == f"{person} has the {thing}."
        assert item.reference == re.search(rf"The {thing} is in the (\w+)\.", item.prompt).group(1)


def test_who_did_not_see_a_move_looks_in_the_old_place(made):
    for item in made["choice"].train:
        owner, first, where, second, asked = re.search(
            r"(\w+) puts the \w+ in the (\w+)\. \w+ (is out|is in the room)\. \w+ moves the \w+ to the (\w+)\. "
            r"Where does (\w+) look",
            item.prompt,
        ).groups()
        expected = first if where == "is out" and asked == owner else second
        assert item.reference[3:] == expected
    shares = [item.task_type for item in made["choice"].train]
    assert 0.2 < shares.count("false belief") / len(shares) < 0.8


def test_velic_has_a_word_for_each_and_no_word_twice(made):
    assert len(set(LEXICON.values())) == len(LEXICON)
    back = {velic: english for english, velic in LEXICON.items()}
    for item in made["translation"].train:
        told = item.prompt.rpartition(": ")[2].split()
        gloss = [back.get(word) or back[word.removesuffix("n")] + "s" for word in told]
        assert gloss == item.thought.split()


def test_rows_survive_the_file(made, tmp_path):
    for name in KIND_NAMES:
        write_items(tmp_path / "rows.jsonl", made[name].test)
        assert read_items(tmp_path / "rows.jsonl") == made[name].test
    (tmp_path / "rows.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl, line 1 is no item"):
        read_items(tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match="run the stage that makes the data first"):
        read_items(tmp_path / "none.jsonl")


def test_more_questions_than_there_are_is_one_line(monkeypatch):
    def few(chance):
        return {"prompt": f"Question {chance.randint(1, 20)}", "reference": "x"}

    monkeypatch.setitem(procedural.KINDS, "reasoning", (few, "exact_match", "nothing"))
    settings = BenchmarkSettings(train=14, validation=3, test=3)
    made = load("reasoning", settings)
    assert len({item.question for item in (*made.train, *made.validation, *made.test)}) == 20
    with pytest.raises(UserError, match="stand-in reasoning has no 15 new questions for train"):
        load("reasoning", BenchmarkSettings(train=15, validation=3, test=3))


@pytest.mark.parametrize(
    ("kind", "value", "yes", "no"),
    [
        ("contains", "red cup", "The Red cup!", "the cup is red"),
        ("excludes", "must", "You mustard", "You must."),
        ("starts_with", "I", "I see.", "In it."),
        ("sentences", "2", "One. Two!", "One two."),
        ("min_sentences", "2", "One. Two. Three", "One."),
        ("min_words", "3", "one two three", "one two"),
        ("max_words", "2", "one two", "one two three"),
        ("max_words", "2", "one", ""),
        ("first_person", "", "My cup", "Your cup"),
    ],
)
def test_constraints(kind, value, yes, no):
    assert Constraint(kind, value).satisfied(yes)
    assert not Constraint(kind, value).satisfied(no)


def test_every_constraint_has_a_case_that_it_refuses():
    assert {mark for mark in KINDS} == {case[0] for case in test_constraints.pytestmark[0].args[1]}, (
        "a new constraint needs a case above"
    )
    for kind, value in (("rhymes", "x"), ("contains", "!"), ("max_words", "few")):
        with pytest.raises(UserError):
            Constraint(kind, value)


@pytest.mark.parametrize(
    ("text", "number"), [("", 0), ("One", 1), ("One.", 1), ("One. Two", 2), ("Mr 3.5 is one.", 1), ('He said "no."', 1)]
)
def test_sentences(text, number):
    assert sentences(text) == number


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "web"}, "choose from procedural, local, hub"),
        ({"names": ["tombench"]}, "benchmark 'tombench' is not to be had from source procedural"),
        ({"names": []}, "names is empty"),
        ({"test": 0}, "test is 0: at least 1"),
        ({"names": ["tombench"], "source": "local"}, "ENCORE_NOVER"),
        ({"names": ["tombench"], "source": "local", "path": "/nowhere"}, "there is no such folder"),
    ],
)
def test_bad_settings_are_one_line(changes, message, monkeypatch):
    monkeypatch.delenv("ENCORE_NOVER", raising=False)
    with pytest.raises(UserError, match=message) as caught:
        settings = BenchmarkSettings(**changes)
        load(settings.names[0], settings)
    assert "\n" not in str(caught.value)
