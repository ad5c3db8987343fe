"""The hub's data sets, by a stand-in of the hub: what is asked of it, and what becomes of its rows."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import datasets
import httpx
import huggingface_hub
import pytest

from encore.data import DataSettings, content_digest, pool, pool_names, target, target_names
from encore.errors import UserError


def row(repository: str, asked: str, number: int) -> dict[str, Any]:
    """Of the columns that these data sets have on the hub."""
    turns = [("human", "user", f" {asked} "), ("gpt", "assistant", "Ho")]
    columns: dict[str, dict[str, Any]] = {
        "princeton-nlp/less_data": {"messages": [{"role": role, "content": text} for _, role, text in turns]},
        "BAAI/Infinity-Instruct": {"conversations": [{"from": name, "value": text} for name, _, text in turns]},
        "openai/gsm8k": {"question": asked, "answer": f"<<1+1=2>>{number}\n#### {number}"},
        "cais/mmlu": {"question": asked, "subject": "law", "choices": ["a", "b", "c", "d"], "answer": number % 4},
        "EleutherAI/hendrycks_math": {"problem": asked, "solution": f"\\boxed{{{number}}}"},
        "lukaemon/bbh": {"input": asked, "target": "Yes"},
        "Idavidrein/gpqa": {
            "Question": asked,
            "Correct Answer": "right",
            **{f"Incorrect Answer {wrong}": f"wrong {wrong}" for wrong in (1, 2, 3)},
            "High-level domain": "Physics",
        },
        "google-research-datasets/tydiqa": {
            "id": f"korean-{number}",
            "question": asked,
            "context": "A text.",
            "answers": {"text": ["an answer"], "answer_start": [0]},
        },
    }
    return columns[repository]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Records what is asked of the hub, whose main branch is at commit `abc`, and a branch `x` at `x-commit`."""
    asked = []

    def dataset_info(self, repository, revision):
        return SimpleNamespace(sha="abc" if revision == "main" else f"{revision}-commit")

    def load_dataset(repository, name, *, split, revision, **more):
        asked.append((repository, name, split, revision, more))
        return [row(repository, f"{name} {split} {number}?", number) for number in range(6)]

    def hf_hub_download(repository, filename, *, repo_type, revision):
        asked.append((repository, filename, repo_type, revision, {}))
        path = tmp_path / filename
        with ZipFile(path, "w") as archive:
            for name in ("cot", "flan_v2", "dolly", "oasst1"):
                lines = [json.dumps(row(repository, f"{name} {number}?", number)) for number in range(6)]
                archive.writestr(f"data/train/processed/{name}/{name}_data.jsonl", "\n".join(lines) + "\n")
            archive.writestr("__MACOSX/data/train/processed/cot/._cot_data.jsonl", "not for us")
        return str(path)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def settings(**changes):
    return DataSettings(**{"source": "hub", "pools": ["cot"], "shots": 1, **changes})


@pytest.mark.parametrize("name", pool_names("hub"))
def test_pools(hub, name):
    found, (card,) = pool(settings(pools=[name]), [])
    assert [(row.prompt.endswith("?"), row.response) for row in found.rows] == [(True, "Ho")] * 6
    assert (card.revision, card.notes) == ("abc", "of each conversation its first question and answer")
    assert card.licence and card.source.startswith("hub: ")
    assert card.sha256 == content_digest(found.rows)
    assert {asked[3] for asked in hub} == {"abc"}, "what the card names is what was loaded"


def test_less_keeps_its_files_apart(hub):
    """In one archive, where each is one file."""
    found, (card,) = pool(settings(pools=["cot"]), [])
    assert hub == [("princeton-nlp/less_data", "less-data.zip", "dataset", "abc", {})]
    assert found.rows[0].prompt == "cot 0?"
    assert card.source == "hub: princeton-nlp/less_data (train/processed/cot/cot_data.jsonl)"


def test_an_archive_without_the_file_is_said_in_a_line(hub, monkeypatch, tmp_path):
    with ZipFile(tmp_path / "empty.zip", "w"):
        pass
    (tmp_path / "text.zip").write_text("a page that asks for a login")
    for name, reason in (("empty", "less-data.zip has 0 files train"), ("text", "not a zip file")):
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, name=name, **__: tmp_path / f"{name}.zip")
        with pytest.raises(UserError, match=rf"^princeton-nlp/less_data cannot be had from the hub \([^\n]*{reason}"):
            pool(settings(), [])


@pytest.mark.parametrize("name", target_names("hub"))
def test_targets(hub, name):
    found = target(name, settings())
    assert not {row.question for row in found.validation} & {row.question for row in found.evaluation}
    subtasks = [row.subtask for row in found.validation]
    assert len(set(subtasks)) == len(subtasks)
    assert all(row.response for row in (*found.validation, *found.evaluation))
    loaded = {(split, revision) for _, _, split, revision, _ in hub}
    assert len(loaded) == (1 if name in ("bbh", "gpqa") else 2), "shots are of another split, where there is one"
    for card, rows in zip(found.cards, (found.validation, found.evaluation), strict=True):
        assert (card.sha256, card.revision) == (content_digest(rows), "abc")


def test_bbh_and_math_are_all_their_parts(hub):
    assert len({row.subtask for row in target("bbh", settings()).evaluation}) == 27
    assert len({row.subtask for row in target("math", settings()).evaluation}) == 7


def test_the_right_choice_of_gpqa_moves_and_is_what_is_asked_for(hub):
    places = set()
    for row in target("gpqa", settings()).evaluation:
        assert f"{row.response}. right" in row.prompt
        places.add(row.response)
    assert len(places) > 1
    assert target("gpqa", settings()) == target("gpqa", settings())


def test_a_pinned_revision_is_loaded(hub):
    _, (card,) = pool(settings(pools=["cot"], revisions={"princeton-nlp/less_data": "x"}), [])
    assert card.revision == hub[0][3] == "x-commit"


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError("no route"), FileNotFoundError("no such data set"), ValueError("no such split\nat all")],
)
def test_a_hub_out_of_reach_is_said_in_a_line(hub, monkeypatch, error):
    def load_dataset(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match=r"^openai/gsm8k cannot be had from the hub \(no [^\n]*procedural$"):
        target("gsm8k", settings())


def test_offline_is_said_in_a_line():
    """By the hub's own client, which the tests keep off the network."""
    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        pytest.skip("HF_HUB_OFFLINE is off")
    with pytest.raises(UserError, match=r"^princeton-nlp/less_data cannot be had from the hub \([^\n]*$"):
        pool(settings(), [])


def test_other_columns_are_said_in_a_line(hub, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: [{"prompt": "1 + 1"}])
    with pytest.raises(UserError, match=r"^openai/gsm8k at abc has not the columns .*data\.revisions$"):
        target("gsm8k", settings())


def test_unknown_names():
    with pytest.raises(UserError, match="target 'arc' is not to be had from source hub: choose from bbh"):
        target("arc", settings())
    with pytest.raises(UserError, match="pool 'tatqa' is not to be had from source hub: choose from cot"):
        pool(settings(pools=["tatqa"]), [])
