"""Loading: malformed products, files in pieces, catalogues on disk, and errors of one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webshop_env import LoadReport, Shop, ShopDataError, WebShopEnv, load_shop
from webshop_env.catalogue import Product, clean_products
from webshop_env.generate import generate_files, write_files
from webshop_env.nouns import TitleNouns
from webshop_env.records import iter_array, iter_object

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


def record(**changes: Any) -> dict[str, Any]:
    good = {
        "asin": "B000000001",
        "name": "Red Lamp",
        "full_description": "a lamp",
        "small_description": ["bright"],
        "pricing": "$12.00",
        "customization_options": {"Color": [{"value": " Red/Blue "}]},
        "category": "garden",
        "query": " Lamps ",
        "product_category": "Home › Lamps",
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


def clean(*records: Any) -> tuple[list[Product], LoadReport]:
    report = LoadReport()
    return list(clean_products(records, {}, TitleNouns(), report)), report


def test_a_good_product() -> None:
    (product,), report = clean(record())
    assert (product.title, product.query, product.price_tag) == ("Red Lamp", "lamps", "$12.0")
    assert product.options == {"color": ("red | blue",)} and product.attributes == ("DUMMY_ATTR",)
    assert product.document == "red lamp a lamp bright color: red | blue"
    assert str(report) == "every product accepted as it is"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": ...}, "no title"),
        ({"name": None}, "no title"),
        ({"asin": ...}, "no asin"),
        ({"asin": "nan"}, "no asin"),
        ({"asin": "B" * 11}, "asin longer than 10 characters"),
        ({"asin": "b1"}, "asin with small letters"),
        ({"asin": "BUY NOW"}, "asin that is the name of a button"),
        ({"pricing": "twelve"}, "price that is no number"),
        ({"pricing": "$1.2.3"}, "price that is no number"),
        ({"pricing": "$10.99 - 12.99"}, "price that is no number"),
        ({"pricing": 12}, "price that is no number"),
    ],
)
def test_refused(changes: dict[str, Any], reason: str) -> None:
    products, report = clean(record(**changes))
    assert products == [] and list(report.refused) == [reason]
    assert len(report.refused[reason]) == 1 and reason in str(report)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"full_description": None}, "no full_description"),
        ({"small_description": None}, "bullet points that are not text"),
        ({"customization_options": {"size": "large"}}, "options that are not a list"),
        ({"customization_options": ["large"]}, "options that are not named groups"),
        ({"customization_options": {"size": [{"value": 3}]}}, "option values that are not text"),
    ],
)
def test_repaired(changes: dict[str, Any], reason: str) -> None:
    products, report = clean(record(**changes))
    assert len(products) == 1 and report.repaired == {reason: ["B000000001"]}


def test_the_first_of_two_products_with_one_asin_is_kept() -> None:
    products, report = clean(record(), record(name="Second"))
    assert [product.title for product in products] == ["Red Lamp"]
    assert report.refused == {"duplicate asin": ["B000000001"]}


@pytest.mark.parametrize(
    ("text", "tag", "amounts"),
    [
        ("", "$100.0", (100.0,)),
        (None, "$100.0", (100.0,)),
        ("$1,877.80", "$1877.8", (1877.8,)),
        ("$9.99 - $12.5", "$9.99 to $12.5", (9.99, 12.5)),
        ("$1 $2 $3", "$1.0 to $2.0", (1.0, 2.0)),
        ("$10 - 20", "$1020.0", (1020.0,)),  # as the original: only the dollar sign parts numbers
    ],
)
def test_prices(text: str | None, tag: str, amounts: tuple[float, ...]) -> None:
    (product,), _ = clean(record(pricing=text))
    assert (product.price_tag, product.pricing) == (tag, amounts)


@given(st.lists(st.dictionaries(st.sampled_from(sorted(record())), JSON) | JSON, max_size=5))
def test_no_record_stops_the_loading(records: list[Any]) -> None:
    products, report = clean(*records)
    assert len(products) + sum(map(len, report.refused.values())) == len(records)


@settings(max_examples=50)
@given(st.lists(JSON | st.dictionaries(st.text(), JSON)), st.integers(1, 20))
def test_files_are_read_in_pieces_as_in_one(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("json")
    (folder / "array.json").write_text(json.dumps(values, indent=1))
    (folder / "object.json").write_text(json.dumps({str(i): value for i, value in enumerate(values)}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("webshop_env.records.CHUNK_CHARACTERS", chunk)
        assert list(iter_array(folder / "array.json")) == values
        assert list(iter_object(folder / "object.json")) == [(str(i), value) for i, value in enumerate(values)]


@pytest.mark.parametrize("content", ["", "[1, 2", "{}", '[{"a": ]', "<html>"])
def test_a_broken_file_is_named_in_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(content)
    with pytest.raises(ShopDataError, match=r"items\.json .* download the file again") as raised:
        list(iter_array(path))
    assert "\n" not in str(raised.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path, generate_files(40, seed=4))
    return tmp_path


def test_a_catalogue_on_disk_is_the_same_shop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = load_shop(folder)
    monkeypatch.setattr("webshop_env.shop.IN_MEMORY_BYTES", 0)
    for _ in range(2):  # unpacked, then found unpacked
        on_disk = load_shop(folder)
        assert type(on_disk.catalogue.products).__name__ == "StoredProducts"
        assert list(on_disk.catalogue) == list(in_memory.catalogue) == on_disk.catalogue.products[:]
        assert list(on_disk.goals) == list(in_memory.goals) and on_disk.prices == in_memory.prices
        assert on_disk.search.top("lamp for kitchen") == in_memory.search.top("lamp for kitchen")


def test_the_folder_comes_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSHOP_DATA", str(folder))
    assert isinstance(load_shop(), Shop)
    monkeypatch.delenv("WEBSHOP_DATA")
    with pytest.raises(ShopDataError, match="WEBSHOP_DATA"):
        load_shop()


def test_missing_files_and_wrong_names_are_one_line(folder: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ({"path": tmp_path / "absent"}, "is no folder"),
        ({"path": folder, "size": "full"}, "has no items_shuffle.json"),
        ({"path": folder, "goals": "robot"}, "take synthetic or human"),
        ({"path": folder, "size": "2k"}, "take 1k or full"),
    ):
        with pytest.raises(ShopDataError, match=message) as raised:
            load_shop(**arguments)  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)


def test_without_spacy_missing_noun_sets_are_told_before_the_first_episode(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "title_nouns.json").unlink()
    monkeypatch.setattr("webshop_env.nouns.can_tag", lambda: False)
    monkeypatch.setattr("webshop_env.engine.can_tag", lambda: False)
    shop = load_shop(folder)
    assert shop.search.top(shop.catalogue[0].title)  # searching needs no nouns
    with pytest.raises(ShopDataError, match=r"encore\[webshop\]"):
        WebShopEnv(shop)
