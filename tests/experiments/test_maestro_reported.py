"""MAESTRO's numbers: every cell of its tables, as the reconstruction of the paper has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from encore.report.reported import load, seconds

PATH = Path(__file__).resolve().parents[2] / "experiments/maestro/reported.yaml"
BENCHMARKS = {
    "NR": "natural_reasoning",
    "SS-GEN": "ss_gen",
    "WebInstruct": "webinstruct",
    "ToMBench": "tombench",
    "GeneralThoughts": "general_thoughts",
    "OPUS-Books": "opus_books",
    "EmoBench": "emobench",
}
COLUMNS = {
    "Base": "base",
    "SFT": "sft",
    "CoT": "cot",
    "NOVER": "nover",
    "Eq": "equal",
    "EM": "em",
    "Rand": "random",
    "Ours": "ours",
}
ABLATIONS = {
    3: ["ours", "llm_judge"],
    4: ["ours", "ours_first", "ours_middle"],
    5: ["ours", "ours_no_entropy", "ours_pairwise"],
    6: ["ours", "ours_joint"],
}


@pytest.fixture(scope="module")
def numbers():
    return load(PATH)


def value(numbers, benchmark, arm, backbone="Qwen3-8B"):
    found = numbers.lookup(benchmark, arm, "test", "score", backbone=backbone)
    return None if found is None else found.value


@pytest.mark.parametrize("backbone", ["Qwen3-8B", "Llama-3.1-8B-Instruct"])
def test_table_1_is_the_reconstruction_s(numbers, shared, backbone):
    text = shared("specs/maestro.md").read_text(encoding="utf-8")
    lines = text[text.index(f"Table 1, {backbone}") :].splitlines()[1:]
    heads = [cell.strip() for cell in lines[0].strip("|").split("|")]
    compared = 0
    for line in lines[2:9]:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for head, cell in zip(heads[1:], cells, strict=True):
            assert value(numbers, BENCHMARKS[name], COLUMNS[head], backbone) == float(cell), (name, head)
            compared += 1
    assert compared == 56


@pytest.mark.parametrize("table", ABLATIONS)
def test_tables_3_to_6_are_the_reconstruction_s(numbers, shared, table):
    text = shared("specs/maestro.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith(f"Table {table},"))
    found = re.findall(rf"({'|'.join(BENCHMARKS)})\s+(\d[\d./ ]*)", line)
    assert found
    for name, cells in found:
        values = [float(cell) for cell in cells.rstrip(". ").split("/")]
        assert [value(numbers, BENCHMARKS[name], arm) for arm in ABLATIONS[table]] == values
    printed = sum(block["id"].startswith(f"table{table}_") for block in numbers.content["blocks"])
    assert printed == len(found)


def test_table_2_and_what_is_said_of_it(numbers, shared):
    text = shared("specs/maestro.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("Table 2,"))
    found = re.findall(r"(SS-GEN|ToMBench|WebInstruct) (\d+):(\d+):(\d+) / (\d+):(\d+):(\d+)", line)
    assert len(found) == 3
    for name, *parts in found:
        with_it, without = (
            seconds(f"{int(hours)}h{int(minutes)}m{int(rest)}s") for hours, minutes, rest in (parts[:3], parts[3:])
        )
        place = (BENCHMARKS[name], "cost", "train_wall_s")
        assert numbers.lookup(place[0], "ours", *place[1:]).value == with_it
        assert numbers.lookup(place[0], "without_conductor", *place[1:]).value == without
        change = 100 * (with_it / without - 1)
        assert numbers.content["derived"]["time_change_percent"][place[0]] == pytest.approx(change, abs=0.005)


def test_percentages_are_whole_counts_of_the_test_items(numbers):
    """But for rounding: some cells are printed with one decimal (33.10 is 168 of 508)."""
    for block in numbers.content["blocks"]:
        if block["panel"] != "test":
            continue
        for cells in block["rows"].values():
            count = cells[0] / 100 * block["episodes"]
            assert abs(count - round(count)) / block["episodes"] < 0.00051, (block["id"], cells)


@pytest.mark.parametrize("backbone", ["Qwen3-8B", "Llama-3.1-8B-Instruct"])
def test_macro_means_follow(numbers, backbone):
    for arm, mean in numbers.content["derived"]["macro_mean"][backbone].items():
        cells = [value(numbers, benchmark, arm, backbone) for benchmark in BENCHMARKS.values()]
        assert sum(cells) / 7 == pytest.approx(mean, abs=0.0051)


def test_every_reported_claim_holds_in_the_table_that_prints_it(numbers):
    for claim in numbers.claims:
        a, b = (value(numbers, claim.environment, arm) for arm in (claim.a, claim.b))
        if claim.basis == "reported":
            assert a > b, claim
        else:
            assert a is None and b is None and claim.environment in numbers.content["derived"]["stand_ins"]


def test_what_is_judged_says_so(numbers):
    for (_, _, panel, _, _), of_backbones in numbers.values.items():
        for found in of_backbones.values():
            assert panel == "cost" or "checkable substitute" in found.warning
