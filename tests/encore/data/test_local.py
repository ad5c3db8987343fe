"""Data sets as published become rows as documented, and a folder that is not as published is refused in one line."""

from __future__ import annotations

import json
import shutil

import pytest

from encore.data import DataSettings, content_digest, ngram_overlap, pool, pool_names, target, target_names
from encore.errors import UserError

EXPECTED = {  # the first row of each, from the invented folder
    "cot": ("Fish swim?\nyes or no\nThink step by step.", "Fish have fins.\nThe answer is yes.", "creak"),
    "flan": ("Say 0.", "0", "copy"),
    "dolly": ("Sum it up.\n\nA\u2028B", "AB", "dolly"),
    "oasst": ("Q1", "A1", "oasst"),
    "gsm8k": ("train 0 plus 1?", "0+1=1\n#### 1", "gsm8k"),
    "pubmedqa": ("We tried.\nIt was 4.\n\nQuestion: Does 4 help?\nAnswer yes, no or maybe:", "maybe", "pubmedqa"),
    "medmcqa": ("Bone a?\nA. one\nB. two\nAnswer:", "A. one", "medmcqa"),
    "tatqa": ("| 2019\nSales | 5\nIn millions.\n\nQuestion: dev sales?\nAnswer:", "5 million", "tatqa"),
}


def settings(folder, **changes):
    return DataSettings(**{"source": "local", "path": str(folder), "shots": 2, **changes})


@pytest.mark.parametrize("name", pool_names("local"))
def test_rows_of_pools(folder, name):
    found, (card,) = pool(settings(folder, pools=[name]), [])
    row = found.rows[0]
    assert (row.prompt, row.response, row.family) == EXPECTED[name]
    assert found.card.sha256 == card.sha256 == content_digest(found.rows)
    assert card.licence and card.revision.startswith("sha256 of its files ")


@pytest.mark.parametrize("name", target_names("local"))
def test_targets_keep_what_they_show_apart_from_what_they_test(folder, name):
    found = target(name, settings(folder))
    for rows in (found.validation, found.evaluation):
        assert len({row.id for row in rows}) == len(rows)
    assert not {row.question for row in found.validation} & {row.question for row in found.evaluation}
    subtasks = [row.subtask for row in found.validation]
    assert all(subtasks.count(subtask) == 2 for subtask in subtasks)
    assert {row.subtask for row in found.evaluation} == set(subtasks)
    for card, rows in zip(found.cards, (found.validation, found.evaluation), strict=True):
        assert card.sha256 == content_digest(rows)
        assert card.licence


def test_multiple_choice_reads_as_usual(folder):
    found = target("mmlu_law", settings(folder))
    assert found.domain == "law"
    assert (found.evaluation[2].prompt, found.evaluation[2].response) == (
        "The following is a multiple choice question (with answer) about international law.\n"
        "international_law test, 2?\nA. one\nB. two, too\nC. three\nD. four\nAnswer:",
        "C",
    )


def test_shots_of_bbh_are_those_of_its_prompts_and_leave_the_test(folder):
    found = target("bbh", settings(folder, shots=3))
    assert [row.prompt for row in found.validation[:3]] == ["shot 0?", "shot 1?", "shot 2?"]
    assert found.validation[0].response == "Let's think step by step.\nSo the answer is No."
    assert len(found.evaluation) == 10, "shot 0 stands in the test files too"


def test_shots_without_rows_of_their_own_leave_the_test(folder):
    found = target("privacy_policy", settings(folder))
    assert len(found.validation) + len(found.evaluation) == 5
    assert "drawn from the test rows" in found.cards[0].notes


def test_sizes_and_seed(folder):
    few = target("mmlu", settings(folder, evaluation=3))
    assert len(few.evaluation) == 4 * 3
    assert few == target("mmlu", settings(folder, evaluation=3))
    assert few.evaluation != target("mmlu", settings(folder, evaluation=3, seed=1)).evaluation
    found, _ = pool(settings(folder, pools=["gsm8k", "flan"], pool_size=3), [])
    assert found.card.families == {"copy": 3, "gsm8k": 3}
    every, _ = pool(settings(folder, pools=["gsm8k", "flan"]), [])
    assert {row.id for row in found.rows} < {row.id for row in every.rows}


def test_a_target_of_many_subtasks_and_one_of_a_single_one_may_be_as_large(folder):
    few = target("mmlu", settings(folder, target_size=6))
    counts = [sum(row.subtask == name for row in few.evaluation) for name in {row.subtask for row in few.evaluation}]
    assert sorted(counts) == [1, 1, 2, 2], "six rows of four subtasks"
    assert few == target("mmlu", settings(folder, target_size=6))
    assert few.evaluation != target("mmlu", settings(folder, target_size=6, seed=1)).evaluation
    assert len(target("privacy_policy", settings(folder, target_size=2)).evaluation) == 2
    assert target("mmlu", settings(folder, target_size=999)) == target("mmlu", settings(folder))


def test_sizes_are_of_the_rows_that_the_context_holds(folder):
    every, _ = pool(settings(folder, pools=["gsm8k"]), [])
    short = {row.id for row in every.rows[::2]}
    found, (card,) = pool(settings(folder, pools=["gsm8k"], pool_size=3), [], lambda row: row.id in short)
    assert {row.id for row in found.rows} == short, "three rows of six were asked for, and three of them fit"
    assert card.examples == 3
    chosen = target("gsm8k", settings(folder, evaluation=2), lambda row: row.id[-1] in "024")
    assert [row.id[-1] in "024" for row in (*chosen.validation, *chosen.evaluation)] == [True] * 4
    for name in ("pool", "target"):
        with pytest.raises(UserError, match=f"no row of {name} gsm8k.* fits into the model's context"):
            if name == "pool":
                pool(settings(folder, pools=["gsm8k"]), [], lambda row: False)
            else:
                target("gsm8k", settings(folder), lambda row: False)


def test_pool_loses_duplicates_and_what_a_target_holds(folder):
    chosen = target("gsm8k", settings(folder))
    found, (card,) = pool(settings(folder, pools=["gsm8k"]), [chosen])
    assert (card.examples, len(found.rows)) == (6, 4)
    assert not {row.question for row in found.rows} & {row.question for row in chosen.validation}
    assert "left out: 2 rows" in found.card.notes
    twice, _ = pool(settings(folder, pools=["flan", "flan"]), [])
    assert twice.rows == pool(settings(folder, pools=["flan"]), [])[0].rows


def test_rows_that_lack_something_are_counted(folder):
    for name in ("flan", "cot"):
        _, (card,) = pool(settings(folder, pools=[name]), [])
        assert "left out: 1 rows without a question or an answer" in card.notes


def test_the_revision_is_of_the_files(folder):
    revisions = []
    for _ in range(2):
        revisions.append(pool(settings(folder, pools=["oasst"]), [])[0].card.revision)
    (folder / "oasst/NOTICE").write_text("new")
    revisions.append(pool(settings(folder, pools=["oasst"]), [])[0].card.revision)
    assert revisions[0] == revisions[1] != revisions[2]


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("gsm8k/train.jsonl", '{"question": "1?", "answer": "1"}\n{"question', "train.jsonl, line 2"),
        ("gsm8k/train.jsonl", '{"question": "1?"}\n', "KeyError: 'answer'"),
        ("gsm8k/train.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("gsm8k/train.jsonl", "", "has no row"),
        ("gsm8k/train.jsonl", None, "FileNotFoundError"),
        ("pubmedqa/ori_pqal.json", "[]", "AttributeError"),
        ("tatqa/tatqa_dataset_dev.json", '{"table": 5}', "TypeError"),
        ("oasst/en_100_tree.jsonl", '{"prompt": {"text": "Q"}}\n', "has no row|KeyError"),
    ],
)
def test_damaged_files_are_refused_in_a_line(folder, path, text, reason):
    if text is None:
        (folder / path).unlink()
    else:
        (folder / path).write_text(text)
    with pytest.raises(UserError, match=reason) as refused:
        pool(settings(folder, pools=[path.partition("/")[0]]), [])
    assert "\n" not in str(refused.value)
    assert str(folder / path.partition("/")[0]) in str(refused.value)


def test_damaged_targets_are_refused_in_a_line(folder):
    (folder / "mmlu/test/anatomy_test.csv").write_text("question,0,1,2,3,answer\nwhat?,a,b,c,d,9\n")
    with pytest.raises(UserError, match=r"mmlu is not as its authors publish it \(ValueError: .*'what\?'"):
        target("mmlu", settings(folder))
    (folder / "tydiqa_goldp/dev/korean_tydiqa_dev.json").write_text(json.dumps({"data": [{}]}))
    with pytest.raises(UserError, match=r"tydiqa_goldp is not as its authors publish it \(KeyError"):
        target("tydiqa", settings(folder))


def test_refusals(folder, monkeypatch, tmp_path):
    monkeypatch.delenv("ENCORE_INSTRUCT", raising=False)
    with pytest.raises(UserError, match=r"name its folder in data.path or \$ENCORE_INSTRUCT"):
        pool(settings(folder, path=None, pools=["cot"]), [])
    with pytest.raises(UserError, match="there is no such folder"):
        pool(settings(tmp_path / "nowhere", pools=["cot"]), [])
    with pytest.raises(UserError, match="pool 'alpaca' is not to be had from source local: choose from cot"):
        pool(settings(folder, pools=["cot", "alpaca"]), [])
    with pytest.raises(UserError, match="target 'arc' is not to be had from source local: choose from bbh"):
        target("arc", settings(folder))
    shutil.rmtree(folder / "flan_cot")
    with pytest.raises(UserError, match="has no folder flan_cot: cot is not to be had"):
        pool(settings(folder, pools=["cot"]), [])
    with pytest.raises(UserError, match="target gsm8k has no evaluation row"):
        shutil.copy(folder / "gsm8k/train.jsonl", folder / "gsm8k/test.jsonl")
        target("gsm8k", settings(folder, shots=6))
    with pytest.raises(UserError, match=r"pool gsm8k has no row \(left out: 6 rows, duplicates or in a target\)"):
        shutil.copy(folder / "gsm8k/train.jsonl", folder / "gsm8k/test.jsonl")
        pool(settings(folder, pools=["gsm8k"]), [target("gsm8k", settings(folder))])


def test_the_folder_may_be_named_by_the_environment(folder, monkeypatch):
    monkeypatch.setenv("ENCORE_INSTRUCT", str(folder))
    assert pool(settings(None, path=None, pools=["oasst"]), [])[0].rows


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": "web"}, "data.source is 'web'"),
        ({"pools": []}, "data.pools is empty"),
        ({"shots": 0}, "data.shots is 0"),
        ({"pool_size": 0}, "data.pool_size is 0"),
        ({"evaluation": -1}, "data.evaluation is -1"),
        ({"target_size": 0}, "data.target_size is 0"),
    ],
)
def test_settings_are_checked(changes, reason):
    with pytest.raises(UserError, match=reason):
        DataSettings(**changes)


POOL_SIZES = {"cot": 17873, "flan": 8213, "dolly": 4537, "oasst": 687, "gsm8k": 7473, "medmcqa": 2000, "tatqa": 1668}
TARGET_SIZES = {  # validation with 3 shots a subtask, subtasks, evaluation; drawn shots leave the test
    "gsm8k": (3, 1, 1319),
    "mmlu": (171, 57, 14042),
    "bbh": (81, 27, 6511),
    "pubmedqa": (3, 1, 500),
    "tatqa": (3, 1, 1663),
}


def test_published_pools(shared):
    """Row counts as their source lists them."""
    root = shared("data/instruct")
    joined, cards = pool(settings(root, pools=list(POOL_SIZES)), [])
    assert {card.name: card.examples for card in cards} == POOL_SIZES
    duplicates = sum(POOL_SIZES.values()) - len(joined.rows)
    assert f"left out: {duplicates} rows" in joined.card.notes
    assert 0 < duplicates < 0.05 * len(joined.rows)


def test_published_targets(shared):
    root = shared("data/instruct")
    for name, (validation, subtasks, evaluation) in TARGET_SIZES.items():
        found = target(name, settings(root, shots=3))
        assert (len(found.validation), len(found.evaluation)) == (validation, evaluation), name
        assert len({row.subtask for row in found.evaluation}) == subtasks, name
    tydiqa = target("tydiqa", settings(root, shots=1))
    assert len(tydiqa.validation) == 9
    assert 5077 - 2 * 9 <= len(tydiqa.evaluation) <= 5077 - 9, "a question may be asked of two passages"


def test_published_shots_that_retell_a_test(shared):
    """Equal questions are taken out; the overlap check finds what is left: a case of law, told again in MMLU's test."""

    def overlap(name):
        found = target(name, settings(shared("data/instruct"), shots=5))
        # MMLU's first line names the subject only, the same for all.
        parts = (found.validation, found.evaluation)
        return found, ngram_overlap(*([row.prompt.partition("\n")[2] for row in rows] for rows in parts))

    assert overlap("pubmedqa")[1].hits == 0
    law, found = overlap("mmlu_law")
    retold = [place for place, _, words in found.examples if "general development plan" in law.evaluation[place].prompt]
    assert len(retold) == 2
    assert found.hits == 3, "and one that shares its four choices with a shot"
