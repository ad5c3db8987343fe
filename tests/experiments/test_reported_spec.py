"""reported.yaml against the tables of the specification, cell by cell; the specification is read where it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from encore.report.reported import ReportedNumbers, load, seconds

PATH = Path(__file__).resolve().parents[2] / "experiments/prism/reported.yaml"
ARMS = {
    "Base": "base",
    "SFT": "sft",
    "GRPO": "grpo",
    "GRPO 0:100": "grpo",
    "GiGPO": "gigpo",
    "Random": "random",
    "Random 50:50": "random",
    "HPT": "hpt",
    "SFT-then-RL": "sft_then_rl",
    "PRISM Gini": "prism_gini",
    "PRISM Kurtosis": "prism_kurtosis",
    "PRISM Kurt": "prism_kurtosis",
    "PRISM CV": "prism_cv",
    "gradient magnitude (L2), top 50% -> RL": "l2",
    "PRISM (spatial Gini)": "prism_gini",
}
QWEN, LLAMA = "Qwen3-8B", "Llama-3.1-8B-Instruct"
TYPES = ("Pick", "Look", "Clean", "Heat", "Cool", "Pick2", None)


@pytest.fixture(scope="module")
def prism() -> ReportedNumbers:
    return load(PATH)


@pytest.fixture
def section(shared: Callable[[str], Path]) -> str:
    text = shared("specs/prism.md").read_text(encoding="utf-8")
    return text[text.index("## 5. Results") : text.index("## 6.")]


def rows(text: str, start: str) -> list[list[str]]:
    """Cells of the first Markdown table after `start`, without its head, without bold."""
    found: list[list[str]] = []
    for line in text[text.index(start) :].splitlines()[1:]:
        if line.startswith("|"):
            found.append([cell.strip().strip("*") for cell in line.strip().strip("|").split("|")])
        elif found:
            break
    return found[2:]


def printed(numbers: ReportedNumbers) -> set[tuple[str, str, str, str, str | None, str]]:
    return {(*key, backbone) for key, by_backbone in numbers.values.items() for backbone in by_backbone}


def test_every_cell_of_every_table(prism: ReportedNumbers, section: str) -> None:
    expected: dict[tuple[str, str, str, str, str | None, str], float] = {}
    types = prism.content["task_types"]
    for start, panel in (("(a) Seen", "seen"), ("(b) Unseen", "unseen")):
        for arm, *cells in rows(section, start):
            for name, cell in zip(TYPES, cells, strict=True):
                key = ("alfworld", ARMS[arm], panel, "success", types[name] if name else None, QWEN)
                expected[key] = float(cell)
    for arm, _, _, *cells in rows(section, "### Table 2"):
        places = [(QWEN, "success"), (QWEN, "score"), (LLAMA, "success"), (LLAMA, "score")]
        for (backbone, metric), cell in zip(places, cells, strict=True):
            expected["webshop", ARMS[arm], "test", metric, None, backbone] = float(cell.strip("*"))
    environment = ""
    for task, arm, *cells in rows(section, "### Table 3"):
        environment = task.lower() or environment
        metrics = ("probe_wall_s", "sft_wall_s", "rl_wall_s", "total_wall_s", "speedup")
        for metric, cell in zip(metrics, cells, strict=True):
            if cell != "-":
                value = float(cell.strip("*x")) if metric == "speedup" else seconds(cell)
                expected[environment, ARMS[arm], "cost", metric, None, QWEN] = value
    for arm, score, success in rows(section, "### Table 4"):
        expected["webshop", ARMS[arm], "test", "score", None, QWEN] = float(score)
        expected["alfworld", ARMS[arm], "seen", "success", None, QWEN] = float(success)
    assert len(expected) == 140 + 40 + 44 + 2  # Table 4 adds the two of the magnitude arm
    assert set(expected) == printed(prism)
    wrong = {
        key: (value, prism.values[key[:5]][key[5]].value)  # type: ignore[index]
        for key, value in expected.items()
        if prism.values[key[:5]][key[5]].value != value  # type: ignore[index]
    }
    assert wrong == {}


def test_deltas_of_the_text(prism: ReportedNumbers, section: str) -> None:
    line = next(line for line in section.splitlines() if line.startswith("- Deltas in text"))
    assert [float(number) for number in re.findall(r"\+(\d+\.\d+)", line)] == [
        delta["value"] for delta in prism.content["deltas"]
    ]


def test_figures_have_no_numbers(prism: ReportedNumbers, section: str) -> None:
    assert "### Figures (no numbers found)" in section
    for figure in prism.figures:
        assert figure.source.replace("Figure", "Fig") in section
        for arm in figure.methods:
            assert not [key for key in prism.values if key[1] == arm]


def test_warnings_of_the_specification_are_kept(prism: ReportedNumbers, shared: Callable[[str], Path]) -> None:
    """Each caveat of the specification about the printed numbers has its number in a warning here."""
    text = shared("specs/prism.md").read_text(encoding="utf-8")
    kept = " ".join(prism.warnings.values())
    for in_specification, here in (
        ("61.74", "61.74"),
        ("mean over three seeds", "384"),
        ("fits no integer composition of 128", "fit no whole counts"),
        ("Random already gets 3.07x / 1.73x", "3.07x"),
        ("0.9–1.0% (WebShop) and 0.3% (ALFWorld)", "0.9 to 1.0 %"),
        ("Pick 41", "Pick 41"),
        ("~1–2 sigma", "1 to 2 standard errors"),
        ("95.31 is the SEEN value", "Seen"),
    ):
        assert in_specification in text and here in kept, here
