"""The published benchmarks: sizes, ids, references; from real files where they are, from invented ones elsewhere."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from types import SimpleNamespace

import pytest

from encore.benchmarks import BenchmarkSettings, load, names
from encore.benchmarks.published import BENCHMARKS, TAIL
from encore.errors import UserError
from encore.evaluation.metrics import METRICS, checkable

SIZES = {
    "natural_reasoning": (2000, 1000, 1000),
    "general_thoughts": (2000, 1000, 1000),
    "webinstruct": (2000, 1000, 1000),
    "ss_gen": (4068, 509, 508),
    "emobench": (272, 0, 128),
    "tombench": (1432, 571, 857),
    "opus_books": (2000, 1000, 1000),
}


def settings(path, name, **changes):
    return BenchmarkSettings(names=[name], source="local", path=str(path), **changes)


def test_the_sizes_are_those_of_the_hub_s_card():
    """thinkwee/NOVEReason_2k says 13772, 5080 and 5493 rows for the seven together."""
    assert {name: one.sizes for name, one in BENCHMARKS.items()} == SIZES
    assert [sum(one.sizes[place] for one in BENCHMARKS.values()) for place in range(3)] == [13772, 5080, 5493]
    assert names("local") == names("hub") == list(BENCHMARKS)


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_real_files(shared, name):
    benchmark = load(name, settings(shared("data/nover"), name, drop_tested=False))
    train, validation, test = SIZES[name]
    if name == "ss_gen":
        train = 0
        assert "no train rows in this folder" in benchmark.cards[0].notes
    assert (len(benchmark.train), len(benchmark.validation), len(benchmark.test)) == (train, validation, test)
    metric = METRICS[benchmark.metric]
    right = [metric(item.reference, item) for item in benchmark.test]
    assert sum(value == 1 for value in right) / test > (0.9 if name == "ss_gen" else 0.999)
    wrong = [metric(other.reference, item) for item, other in itertools.pairwise(benchmark.test)]
    if name != "ss_gen":  # every story is a story
        assert sum(wrong) / len(wrong) < 0.5
    assert [card.examples for card in benchmark.cards] == [train, validation, test]


def test_rows_that_are_tested_word_for_word_leave_the_training(shared):
    folder = shared("data/nover")
    kept = load("webinstruct", settings(folder, "webinstruct", drop_tested=False))
    clean = load("webinstruct", settings(folder, "webinstruct"))
    tested = {item.question for item in clean.test}
    assert len(kept.train) == 2000 and len(clean.train) == 1969
    assert not any(item.question in tested for item in clean.train)
    assert "31 training rows" in clean.cards[0].notes and clean.test == kept.test
    some = load("webinstruct", settings(folder, "webinstruct", checkable=True, test=100), checkable)
    assert len(some.test) == 100 and all(map(checkable, some.test))


def write_emobench(folder, *, rows=(272, 0, 128), reference="Emotion: B: Love, Cause: C: He is glad"):
    folder.mkdir(exist_ok=True)
    with (folder / "emobench.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "reference", "split"])
        for split, number in zip(("train", "validation", "test"), rows, strict=True):
            for place in range(number):
                last = place == number - 1
                writer.writerow(
                    [f"\n{split} {place}, what?\n", reference if last else "Emotion: A: x, Cause: B: y", split]
                )


def test_a_row_without_reference_is_refused_by_its_id(tmp_path):
    write_emobench(tmp_path, reference=" ")
    with pytest.raises(UserError, match="row emobench-train-271 has no reference answer"):
        load("emobench", settings(tmp_path, "emobench"))


@pytest.mark.parametrize("rows", [(271, 0, 128), (272, 1, 128), (272, 0, 127)])
def test_another_size_than_published_is_refused(tmp_path, rows):
    write_emobench(tmp_path, rows=rows)
    with pytest.raises(UserError, match="were published: fetch the data again"):
        load("emobench", settings(tmp_path, "emobench"))


def test_damaged_files_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"has no emobench\.csv"):
        load("emobench", settings(tmp_path, "emobench"))
    (tmp_path / "emobench.csv").write_text("prompt,reference\nx,y\n")
    with pytest.raises(UserError, match="not as its authors publish it"):
        load("emobench", settings(tmp_path, "emobench"))
    (tmp_path / "ssgen").mkdir()
    (tmp_path / "ssgen" / "test.jsonl").write_text("{]\n")
    with pytest.raises(UserError, match="not as its authors publish it"):
        load("ss_gen", settings(tmp_path, "ss_gen"))


def stories(number, split=""):
    return [
        {"id": str(n), "chapter": "c", "title": f"{split} {n}", "explanation": "helps.", "story_content": f"I try {n}."}
        for n in range(number)
    ]


def test_a_missing_split_is_empty_and_refused_where_it_is_needed(tmp_path):
    folder = tmp_path / "ssgen"
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in stories(508)))
    benchmark = load("ss_gen", settings(tmp_path, "ss_gen"))
    assert "no train, validation rows" in benchmark.cards[2].notes
    assert benchmark.test[0].prompt.endswith(TAIL) and benchmark.test[0].constraints
    with pytest.raises(UserError, match="benchmark ss_gen has no train rows from this source"):
        benchmark.split("train")


@pytest.fixture
def hub(monkeypatch):
    """A stand-in of the hub with both repositories, in the columns that their users read."""
    prompts = {"emobench": "EmoBench", "tombench": "tombench_en"}
    parts = {split: [] for split in ("train", "validation", "test")}
    for name, label in prompts.items():
        for split, size in zip(parts, SIZES[name], strict=True):
            parts[split] += [
                {
                    "prompt": [{"role": "user", "content": f"{name} {split} {n}\nA. x\nB. y"}],
                    "reference": "B. y",
                    "source_dataset": label,
                }
                for n in range(size)
            ]
    stored = {
        "thinkwee/NOVEReason_2k": parts,
        "FMiMiY/SS-GEN": {
            split: stories(size, split) for split, size in (("train", 4068), ("dev", 509), ("test", 508))
        },
    }
    asked = []

    def load_dataset(repository, revision):
        asked.append((repository, revision))
        return stored[repository]

    class HfApi:
        def dataset_info(self, repository, revision):
            return SimpleNamespace(sha=f"commit-of-{revision}")

    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub, "HfApi", HfApi)
    return SimpleNamespace(stored=stored, asked=asked)


def test_the_hub_gives_the_same_rows_by_name_and_revision(hub):
    wanted = BenchmarkSettings(names=["tombench"], source="hub", revisions={"thinkwee/NOVEReason_2k": "v1"})
    benchmark = load("tombench", wanted)
    assert hub.asked == [("thinkwee/NOVEReason_2k", "commit-of-v1")]
    assert len(benchmark.test) == 857 and benchmark.test[0].prompt.startswith("tombench test 0")
    assert benchmark.cards[2].revision == "commit-of-v1"
    story = load("ss_gen", BenchmarkSettings(names=["ss_gen"], source="hub"))
    assert len(story.train) == 4068 and hub.asked[-1] == ("FMiMiY/SS-GEN", "commit-of-main")


def test_a_hub_without_the_benchmark_or_its_columns_is_one_line(hub):
    with pytest.raises(
        UserError, match=r"no rows of OPUS-Books: its source_dataset says \['EmoBench', 'tombench_en'\]"
    ):
        load("opus_books", BenchmarkSettings(names=["opus_books"], source="hub"))
    hub.stored["thinkwee/NOVEReason_2k"]["train"][0].pop("source_dataset")
    with pytest.raises(UserError, match="has not the columns that it had"):
        load("tombench", BenchmarkSettings(names=["tombench"], source="hub"))


def test_without_a_network_the_hub_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if "huggingface_hub" in sys.modules:
        monkeypatch.setattr(sys.modules["huggingface_hub"].constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot be had from the hub") as caught:
        load("tombench", BenchmarkSettings(names=["tombench"], source="hub"))
    assert "\n" not in str(caught.value)
