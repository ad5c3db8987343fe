"""Rendering: whatever the texts and numbers are, a page is well-formed, loads nothing and prints no NaN."""

from __future__ import annotations

import dataclasses
import html as entities
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from encore.errors import UserError
from encore.report import console, html, markdown, narrative, numbers, plots, sections, tables
from encore.report.build import corrected, paired_test, result_row
from encore.report.comparison import Comparison, Meta, ReportedValue
from encore.report.reported import ReportedNumbers

VOID = {"meta", "br", "hr", "img", "input", "link"}
EMPTY = Comparison(Meta("prism", "Title", "smoke", "a tiny model", "Qwen3-8B", "", "", "", ""))
Render = Callable[[Comparison], str]


class Page(HTMLParser):
    """Checks that every element closes, and keeps the text, the tags and what a browser would load."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(content)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        names = dict(attrs)
        assert len(names) == len(attrs), f"an attribute twice in <{tag}>"
        assert not any(name.startswith("on") for name in names), f"a handler in <{tag}>"
        self.loads += [names[name] or "" for name in ("src", "href", "srcset", "data") if name in names]
        if tag == "table":
            assert self.open[-1] == "div"  # that scrolls, so that a phone never scrolls the page sideways
        self.ids += [names["id"] or ""] if "id" in names else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(params=["comparison", "hostile", "empty"])
def any_comparison(request: pytest.FixtureRequest) -> Comparison:
    return EMPTY if request.param == "empty" else request.getfixturevalue(request.param)


def test_page_is_well_formed_and_loads_nothing(any_comparison: Comparison) -> None:
    content = html.render(any_comparison)
    page = Page(content)
    assert content.startswith("<!DOCTYPE html>")
    assert not page.tags & {"script", "iframe", "object", "embed", "link", "img", "base", "form"}
    assert all(target.startswith("#") for target in page.loads)
    assert "http" not in re.sub(r">[^<]*<", "><", content)  # in no attribute
    assert "@import" not in content and not re.search(r"url\((?!#)", content)
    sections = [name for name in page.ids if re.fullmatch("[a-z]+", name)]
    assert len(sections) == len(set(sections))


def test_hostile_text_stays_text(hostile: Comparison) -> None:
    content = html.render(hostile)
    assert "<script" not in content
    assert hostile.meta.title in " ".join(Page(content).words)  # shown as it was written
    assert "<script" not in markdown.render(hostile).replace("\\<script", "")
    assert "[bold]" in console.render(hostile, 500)  # no terminal markup either


@pytest.mark.parametrize("render", [html.render, markdown.render, console.render])
def test_no_lack_is_printed_as_a_number(any_comparison: Comparison, render: Render) -> None:
    text = render(any_comparison)
    text = Page(text).text if render is html.render else text
    assert not re.search(r"\b(nan|inf|None|null)\b", text, re.IGNORECASE)
    if any_comparison.rows:
        assert numbers.DASH in text


def test_every_number_is_on_the_page(comparison: Comparison) -> None:
    page, text = Page(html.render(comparison)).text, markdown.render(comparison)
    for row in comparison.rows:
        shown = [numbers.percent(row.mean), numbers.span(row.low, row.high), *map(numbers.percent, row.per_seed)]
        shown += [numbers.reported(row.reported)]
        shown += [numbers.span(found.low, found.high) for found in row.by_type.values()]
        shown += [numbers.reported(found.reported) for found in row.by_type.values()]
        assert all(value in page and value in text for value in shown)
    for cost in comparison.costs:
        shown = [numbers.duration(cost.total_s), numbers.quantity(cost.tokens_trained), numbers.energy(cost.energy_kwh)]
        assert all(value in page and value in text for value in shown)
    for test in comparison.tests:
        shown = [numbers.points(test.difference), *map(numbers.points, test.per_seed)]
        assert all(value in page and value in text for value in shown)
    for claim in [*comparison.claims, *comparison.cost_claims]:
        assert claim.verdict in page and claim.explanation in page
    for sentence in comparison.meta.rule:
        assert " ".join(sentence.split()) in page
    for found in comparison.agreements:
        assert found.a in page and numbers.decimal(found.rho) in page
    for fact in (
        comparison.meta.git_commit,
        comparison.meta.command,
        comparison.meta.machine,
        "make ui",
        "torch 2.8.0",
    ):
        assert fact in page
    for warning in comparison.meta.warnings:
        assert " ".join(warning.split()) in page


def test_reported_and_reproduced_are_two_columns_with_their_scales(comparison: Comparison) -> None:
    table = tables.results(comparison)
    names = [column.name for column in table.columns]
    assert names[1:6] == ["Reported, %", "Reproduced, %", "95 % interval", "Seeds", "Verdict"]
    assert "Qwen3-8B" in table.lead and comparison.meta.backbone in table.lead and "nothing is subtracted" in table.lead
    assert "not the paper's scale" in narrative.caveat(comparison)
    sft = next(row for row in comparison.rows if row.method == "sft")
    cells = next(cells for group in table.groups for cells in group.rows if cells[0].text == sft.label)
    assert cells[names.index("Reported, %")].text == "45.31"
    assert cells[names.index("Verdict")].text == "other scale"
    assert sft.mean is not None
    apart = numbers.points(sft.mean - 0.4531)
    assert apart not in " ".join(cell.text for cell in cells)


def test_a_skipped_arm_says_why(comparison: Comparison) -> None:
    for render in (html.render, markdown.render, console.render):
        assert "HPT was not run: no pass rates." in render(comparison)
    assert "HPT" not in narrative.what_was_run(comparison)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_console_keeps_its_width(comparison: Comparison, hostile: Comparison, width: int) -> None:
    for each in (comparison, hostile, EMPTY):
        assert max(len(line) for line in console.render(each, width).splitlines()) <= width


def test_console_needs_no_colours(comparison: Comparison) -> None:
    assert "\x1b" not in console.render(comparison)
    assert "\x1b[" in console.render(comparison, color=True)


def test_figures_follow_the_page_and_repeat(comparison: Comparison) -> None:
    figures = plots.interval_svgs(comparison)
    assert [heading for heading, _ in figures] == ["ALFWorld · seen", "ALFWorld · unseen"]
    assert figures == plots.interval_svgs(comparison)  # the same data, the same bytes
    for _, svg in figures:
        assert svg.startswith("<svg role=") and "var(--accent)" in svg and "http" not in svg
        assert not re.search(r"#[0-9a-f]{6}\b", svg)  # no fixed colour would show in the dark
        assert "PRISM Gini" in svg  # text, not outlines


def test_one_row_panel_and_full_axis() -> None:
    row = result_row("webshop", "base", "test", {0: [1.0, 1.0]})
    page = html.render(Comparison(EMPTY.meta, [row]))
    assert "100.0" in page and "WebShop · test" in page
    assert plots.shared_upper([row]) == 1.0 and plots.shared_upper([]) == 0.2


def test_json_round_trip(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "comparison.json"
    comparison.save(path)
    assert Comparison.load(path) == comparison
    assert [item.name for item in path.parent.iterdir()] == [path.name]  # no scratch file is left


def test_json_holds_no_nan(hostile: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    hostile.save(path)
    assert json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    loaded = Comparison.load(path)
    assert loaded.rows[0].low is None and loaded.rows[0].label == hostile.rows[0].label
    html.render(loaded)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"format": 0}', '{"format": 2}', '{"format": 2, "meta": {"paper": "x"}}', '{"format": 2, "mata": 1}'],
)
def test_another_file_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    path.write_text(content)
    with pytest.raises(UserError, match="compare stage") as error:
        Comparison.load(path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="compare stage"):
        Comparison.load(tmp_path / "absent.json")


def test_pages_are_saved(comparison: Comparison, tmp_path: Path) -> None:
    path = html.save(comparison, tmp_path / "a" / "report.html")
    assert path.read_text(encoding="utf-8") == html.render(comparison)


def test_markdown_tables_have_even_rows(hostile: Comparison) -> None:
    widths = set()
    for line in markdown.render(hostile).splitlines():
        if line.startswith("|"):
            widths.add(len(re.findall(r"(?<!\\)\|", line)))
        elif widths:
            assert len(widths) == 1
            widths.clear()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.percent(0.4531), "45.3"),
        (numbers.percent(-0.00001), "0.0"),
        (numbers.percent(None), "—"),
        (numbers.percent(float("nan")), "—"),
        (numbers.points(0.1016), "+10.2"),
        (numbers.points(-0.1016), "−10.2"),
        (numbers.points(0.0), "0.0"),
        (numbers.span(0.1, None), ""),
        (numbers.duration(0.423), "0.42 s"),
        (numbers.duration(59.7), "1 min 00 s"),
        (numbers.duration(3600 * 36 + 13 * 60), "36 h 13 min"),
        (numbers.quantity(1234567), "1.23 M"),
        (numbers.quantity(999.6), "1 k"),
        (numbers.quantity(0), "0"),
        (numbers.quantity(12), "12"),
        (numbers.energy(0.0123), "12.3 Wh"),
        (numbers.energy(2.5e-6), "2.5 mWh"),
        (numbers.ratio(3, 2), "1.50×"),
        (numbers.ratio(3, 0), "—"),
        (numbers.probability(0.0002), "<0.001"),
        (numbers.decimal(-0.412), "−0.41"),
        (numbers.reported(ReportedValue(21180.0, "seconds", "Table 3")), "5 h 53 min"),
        (numbers.reported(ReportedValue(3.22, "ratio", "Table 3")), "3.22×"),
        (numbers.reported(ReportedValue(45.31, "percent", "Table 1")), "45.31"),
    ],
)
def test_numbers_are_written_one_way(written: str, expected: str) -> None:
    assert written == expected


def test_rows_come_from_outcomes() -> None:
    row = result_row("alfworld", "sft", "seen", {1: [1, 0, 1, 1], 0: [1, 0, 0, 1]}, task_types=["a", "b", "b", "a"])
    assert row.seeds == [0, 1] and row.per_seed == [0.5, 0.75] and row.mean == 0.625
    assert (row.wins, row.episodes) == (5, 8)
    assert (row.by_type["a"].wins, row.by_type["b"].wins, row.by_type["b"].episodes) == (4, 1, 4)
    with pytest.raises(ValueError, match="same games"):
        result_row("alfworld", "sft", "seen", {0: [1], 1: [1, 0]})
    with pytest.raises(ValueError, match="task types"):
        result_row("alfworld", "sft", "seen", {0: [1, 0]}, task_types=["a"])


def test_pairs_come_from_outcomes() -> None:
    test = paired_test("alfworld", "seen", "sft", "base", {0: [1, 1, 0], 1: [1, 1, 1]}, {0: [0, 1, 0]})
    assert test.difference == pytest.approx(1 / 2)
    assert test.per_seed == pytest.approx([1 / 3, 2 / 3])  # the one run of base against both
    assert test.mcnemar_p == [1.0, 0.5]
    scores = paired_test("webshop", "test", "sft", "base", {0: [0.5, 1]}, {0: [0.25, 1]}, metric="score")
    assert scores.mcnemar_p == []  # a reward is no win
    with pytest.raises(ValueError, match="games"):
        paired_test("alfworld", "seen", "sft", "base", {0: [1]}, {0: [0, 1]})


def test_titles_with_entities_survive(comparison: Comparison) -> None:
    meta = dataclasses.replace(comparison.meta, title="A & B < C")
    assert entities.escape("A & B < C") in html.render(dataclasses.replace(comparison, meta=meta))


def test_a_layout_is_shown_in_its_order_and_alone(comparison: Comparison) -> None:
    layout = [
        sections.Figures("plots", "Some plots", [("one", "<svg></svg>")], note="a note"),
        tables.tests(comparison),
    ]
    page = Page(html.render(comparison, layout))
    assert page.text.index("Some plots") < page.text.index("Paired tests")
    assert "a note" in page.text and "Cost beside score" not in page.text
    only = markdown.render(comparison, sections.tables_of(layout))
    assert "## Paired tests" in only and "## Cost beside score" not in only
    assert "Claims of the paper" not in console.render(comparison, shown=[tables.tests(comparison)])


def test_families_are_corrected_apart() -> None:
    pair = paired_test("alfworld", "seen", "sft", "base", {0: [1] * 20 + [0] * 5}, {0: [0] * 20 + [1, 0, 0, 0, 0]})
    alone = dataclasses.replace(pair, family="alone")
    first, second, third = corrected([pair, pair, alone])
    assert first.adjusted_p == second.adjusted_p == pytest.approx(min(1, 2 * pair.bootstrap_p))
    assert third.adjusted_p == pytest.approx(pair.bootstrap_p)


def test_other_backbones_of_the_paper_stand_beside(reported_numbers: ReportedNumbers) -> None:
    row = result_row("webshop", "sft", "test", {0: [1.0, 0.0]}, numbers=reported_numbers)
    assert row.reported is not None and row.reported.value == 42.97
    assert row.other_reported["Llama-3.1-8B-Instruct"].value == 18.75
    llama = result_row(
        "webshop", "sft", "test", {0: [1.0, 0.0]}, numbers=reported_numbers, backbone="Llama-3.1-8B-Instruct"
    )
    assert llama.reported is not None and llama.reported.value == 18.75
    assert list(llama.other_reported) == ["Qwen3-8B"]


def test_an_interval_of_two_seeds_is_over_them_too() -> None:
    apart = result_row("alfworld", "sft", "seen", {0: [1] * 30 + [0] * 10, 1: [1] * 10 + [0] * 30})
    same = result_row("alfworld", "sft", "seen", {0: [1] * 20 + [0] * 20, 1: [1] * 20 + [0] * 20})
    assert apart.low is not None and apart.high is not None and same.low is not None and same.high is not None
    assert apart.high - apart.low > 2 * (same.high - same.low)
    assert "seed" in apart.interval
