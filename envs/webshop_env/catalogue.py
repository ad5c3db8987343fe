"""Products of a shop: the official records cleaned as the original loader cleans them.

Source of the rules: web_agent_site/engine/engine.py, load_products, of princeton-nlp/WebShop. What the original would
skip is refused here too; where it would crash, the product is refused or the field repaired, counted and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Any

from webshop_env.nouns import TitleNouns

NO_PRICE = 100.0  # dollars, for a product without a price text
NO_ATTRIBUTES = ("DUMMY_ATTR",)
MAX_ASIN = 10
BUTTONS = (
    "back to search", "< prev", "next >", "search", "buy now", "description", "features", "reviews", "attributes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Product:
    """One product. `pricing`: one or two dollar amounts; `options`: group -> values, both in page order, lower case."""

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    pricing: tuple[float, ...]
    options: Mapping[str, tuple[str, ...]]
    category: str
    query: str
    product_category: str
    attributes: tuple[str, ...]
    instruction: str | None = None
    instruction_attributes: tuple[str, ...] = ()
    noun_table: TitleNouns = field(default_factory=TitleNouns, repr=False, compare=False)

    @property
    def price_tag(self) -> str:
        """The price as the pages show it: "$12.0" or "$9.99 to $14.5"."""
        return " to ".join(f"${amount}" for amount in self.pricing) if len(self.pricing) > 1 else f"${self.pricing[0]}"

    @property
    def nouns(self) -> tuple[str, ...]:
        """Lowered nouns of the title, in order, with repeats."""
        return self.noun_table(self.title)

    @property
    def document(self) -> str:
        """The text that the search index knows of it (search_engine/convert_product_file_format.py)."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        first_bullet = self.bullets[0] if self.bullets else ""
        return f"{self.title} {self.description} {first_bullet} {options}".lower()


@dataclass
class LoadReport:
    """What loading refused and repaired: reason -> asins (or "record <n>" where there is no asin), in file order."""

    refused: dict[str, list[str]] = field(default_factory=dict)
    repaired: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [
            f"{len(asins)} {verb} ({reason}: {', '.join(asins[:3])}{', …' if len(asins) > 3 else ''})"
            for verb, found in (("refused", self.refused), ("repaired", self.repaired))
            for reason, asins in found.items()
        ]
        return "; ".join(parts) or "every product accepted as it is"


class Catalogue:
    """The products of a shop in official order, by number or by asin."""

    def __init__(
        self,
        products: Sequence[Product],
        asins: Sequence[str] | None = None,
        report: LoadReport | None = None,
        source_key: str | None = None,
        cache: Path | None = None,
        nouns: TitleNouns | None = None,
    ) -> None:
        self.products = products
        self.asins = list(asins) if asins is not None else [product.asin for product in products]
        self.report = report or LoadReport()
        self.source_key = source_key  # None: generated, so nothing about it is kept on disk
        self.cache = cache
        self.nouns = nouns or TitleNouns()
        self._numbers = {asin: number for number, asin in enumerate(self.asins)}

    def __len__(self) -> int:
        return len(self.asins)

    def __iter__(self) -> Iterator[Product]:
        return iter(self.products)

    def __contains__(self, asin: object) -> bool:
        return asin in self._numbers

    def __getitem__(self, key: str | int) -> Product:
        return self.products[self._numbers[key] if isinstance(key, str) else key]

    def number(self, asin: str) -> int:
        """Place of a product in official order."""
        return self._numbers[asin]

    @cached_property
    def by_category(self) -> dict[str, list[str]]:
        """category -> asins, for the search backdoor <c>."""
        return self._group("category")

    @cached_property
    def by_query(self) -> dict[str, list[str]]:
        """query class -> asins, for the search backdoor <q>."""
        return self._group("query")

    def _group(self, name: str) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for product in self.products:
            groups.setdefault(getattr(product, name), []).append(product.asin)
        return groups


def clean_products(
    records: Iterable[Any], details: Mapping[str, Any], nouns: TitleNouns, report: LoadReport
) -> Iterator[Product]:
    """Product by product from official records; `details`: asin -> attributes and instruction (items_ins_v2)."""
    seen: set[str] = set()
    for number, record in enumerate(records):
        asin = record.get("asin") if isinstance(record, dict) else None
        name = asin if isinstance(asin, str) else f"record {number}"
        reason = _refusal(record, asin, seen)
        if reason is None:
            seen.add(name)
            try:
                pricing = _pricing(record.get("pricing"))
            except (ValueError, InvalidOperation):
                reason = "price that is no number"
        if reason is not None:
            report.refused.setdefault(reason, []).append(name)
            continue
        repairs: list[str] = []
        product = _product(record, pricing, details.get(name), nouns, repairs)
        for repair in dict.fromkeys(repairs):
            report.repaired.setdefault(repair, []).append(name)
        yield product


def _refusal(record: Any, asin: Any, seen: set[str]) -> str | None:
    if not isinstance(record, dict):
        return "not an object"
    if not isinstance(asin, str) or asin == "nan" or not asin:
        return "no asin"
    if len(asin) > MAX_ASIN:
        return f"asin longer than {MAX_ASIN} characters"
    if asin in seen:
        return "duplicate asin"
    if asin.lower().upper() != asin:
        return "asin with small letters"  # links are lowered and raised again: it could not be opened
    if asin.lower() in BUTTONS:
        return "asin that is the name of a button"
    if not isinstance(record.get("name"), str):
        return "no title"
    return None


def _pricing(text: Any) -> tuple[float, ...]:
    """Dollar amounts of a price text. "$a - b" is the amount that is left without " - ", as in the original."""
    if not text:
        return (NO_PRICE,)
    if not isinstance(text, str):
        raise ValueError
    amounts = tuple(float(Decimal(re.sub(r"[^\d.]", "", piece))) for piece in text.split("$")[1:])[:2]
    if not amounts:
        raise ValueError
    return amounts


def _product(
    record: dict[str, Any], pricing: tuple[float, ...], details: Any, nouns: TitleNouns, repairs: list[str]
) -> Product:
    def text(key: str) -> str:
        value = record.get(key)
        if isinstance(value, str):
            return value
        repairs.append(f"no {key}")
        return ""

    bullets = record.get("small_description")
    if not isinstance(bullets, list):
        bullets = [bullets]
    if not all(isinstance(bullet, str) for bullet in bullets):
        repairs.append("bullet points that are not text")
        bullets = [bullet for bullet in bullets if isinstance(bullet, str)]
    if not isinstance(details, dict):
        details = {}
    instruction_attributes = tuple(map(str, details.get("instruction_attributes") or ()))
    instruction = details.get("instruction")
    if instruction is not None and not instruction_attributes:
        repairs.append("instruction without attributes")
        instruction = None
    return Product(
        asin=record["asin"],
        title=record["name"],
        description=text("full_description"),
        bullets=tuple(bullets),
        pricing=pricing,
        options=_options(record.get("customization_options"), repairs),
        category=text("category"),
        query=text("query").lower().strip(),
        product_category=text("product_category"),
        attributes=tuple(map(str, details["attributes"])) if "attributes" in details else NO_ATTRIBUTES,
        instruction=instruction,
        instruction_attributes=instruction_attributes,
        noun_table=nouns,
    )


def _options(groups: Any, repairs: list[str]) -> dict[str, tuple[str, ...]]:
    if not groups:
        return {}
    if not isinstance(groups, dict):
        repairs.append("options that are not named groups")
        return {}
    options = {}
    for name, contents in groups.items():
        if contents is None:
            continue
        if not isinstance(contents, list):
            repairs.append("options that are not a list")
            continue
        values = [entry.get("value") if isinstance(entry, dict) else None for entry in contents]
        if not all(isinstance(value, str) for value in values):
            repairs.append("option values that are not text")
        # Strip, then the slash, then lower case: in this order the original makes the values its pages show.
        options[name.lower()] = tuple(
            value.strip().replace("/", " | ").lower() for value in values if isinstance(value, str)
        )
    return options
