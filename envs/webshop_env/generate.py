"""Invented shops in the schema of the official files: for tests, laptops, and policies of a few million weights.

Products of one kind share their kind, their category and many attributes, so that a search for the kind alone leaves a
choice to make. The words of the instruction narrow it; the price and, in full shops, attributes that only the page of
features names decide it, so that buying the first hit is not enough. Nothing here is scraped, and the generator knows
the nouns of its titles: no language model is needed.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from webshop_env.catalogue import Catalogue, LoadReport, clean_products
from webshop_env.generate_words import (
    BRAND_ENDS,
    BRAND_STARTS,
    CATEGORIES,
    SMALL_ADJECTIVES,
    SMALL_MATERIALS,
    SMALL_OPTIONS,
    Category,
    Kind,
)
from webshop_env.nouns import TitleNouns
from webshop_env.records import ShopDataError, write_atomically
from webshop_env.search import Retriever
from webshop_env.shop import Shop

GeneratedSize = Literal["full", "small"]
SMALL_PRICES = ((4, 20), (45, 90))  # dollars: cheap or dear, so that a limit parts twins
SMALL_PAGE = 3  # hits on a results page of a small shop; an episode then takes about 200 tokens of a small vocabulary
ASIN_LETTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass
class GeneratedFiles:
    """The contents of the official files of a generated shop, and the nouns of its titles (asin -> nouns)."""

    products: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    human: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    nouns: dict[str, list[str]] = field(default_factory=dict)


def generate_shop(
    n_products: int,
    seed: int = 0,
    size: GeneratedSize = "full",
    goals: Literal["synthetic", "human"] = "synthetic",
    price_seed: int = 0,
    search: Retriever | None = None,
) -> Shop:
    """A shop of `n_products` invented products in five categories; the same arguments give the same shop anywhere.

    size: "full" has titles, pages and option lists of the length of the real ones and ten hits a page; "small" has
    titles of three words and three hits a page, for language models that can hold only a few hundred tokens.
    """
    files = generate_files(n_products, seed, size)
    titles = {record["asin"]: record["name"] for record in files.products}
    nouns = TitleNouns({titles[asin]: found for asin, found in files.nouns.items()})
    report = LoadReport()
    products = list(clean_products(files.products, files.details, nouns, report))
    return Shop(
        Catalogue(products, report=report, nouns=nouns),
        price_seed,
        files.human if goals == "human" else None,
        search,
        page_size=SMALL_PAGE if size == "small" else 10,
        name=f"generated-{size}-{n_products}-seed{seed}",
    )


def generate_files(n_products: int, seed: int = 0, size: GeneratedSize = "full") -> GeneratedFiles:
    """The same shop as records of the official files."""
    if size not in ("full", "small"):
        raise ShopDataError(f"no size '{size}' of generated shops: take full or small")
    if n_products < 1:
        raise ShopDataError(f"a shop of {n_products} products cannot sell anything: take at least 1")
    # A string seeds by its SHA-512, so the shop does not depend on Python's hash seed.
    generator = random.Random(f"webshop {size} {seed}")
    files = GeneratedFiles()
    make = _small_products if size == "small" else _full_products
    make(_asins(n_products, size, generator), generator, files)
    return files


def write_files(folder: Path, files: GeneratedFiles) -> None:
    """Writes the shop as the official 1,000-product files, for `load_shop(folder)`."""
    for name, content in (
        ("items_shuffle_1000.json", files.products),
        ("items_ins_v2_1000.json", files.details),
        ("items_human_ins.json", files.human),
        ("title_nouns.json", files.nouns),
    ):
        write_atomically(folder / name, json.dumps(content, ensure_ascii=False).encode())


def _asins(count: int, size: GeneratedSize, generator: random.Random) -> list[str]:
    if size == "small":
        # Numbers in random order: ties in the search go by asin and must say nothing about the product.
        return [f"P{number}" for number in generator.sample(range(1, count + 1), count)]
    found: dict[str, None] = {}
    while len(found) < count:
        found["B" + "".join(generator.choices(ASIN_LETTERS, k=9))] = None
    return list(found)


@dataclass(frozen=True)
class _Family:
    """Products of one brand that look alike in a list: they differ in what only their own pages say, and in price."""

    category: Category
    kind: Kind
    brand: str
    purpose: str
    shown: list[str]  # attributes in every title
    hidden: list[str]  # attributes of which each product has some
    price: float


def _full_family(generator: random.Random) -> _Family:
    category = generator.choice(CATEGORIES)
    kind = generator.choice(category.kinds)
    attributes = generator.sample(list(category.attributes), 6)
    brand = generator.choice(BRAND_STARTS) + generator.choice(BRAND_ENDS)
    purpose = generator.choice(category.purposes)
    return _Family(category, kind, brand, purpose, attributes[:2], attributes[2:], generator.uniform(*kind.price))


def _full_products(asins: list[str], generator: random.Random, files: GeneratedFiles) -> None:
    remaining = list(asins)
    while remaining:
        family = _full_family(generator)
        size = generator.randint(2, 5)
        for asin in remaining[:size]:
            _full_product(asin, family, generator, files)
        remaining = remaining[size:]


def _full_product(asin: str, family: _Family, generator: random.Random, files: GeneratedFiles) -> None:
    category, kind, purpose, shown = family.category, family.kind, family.purpose, family.shown
    hidden = generator.sample(family.hidden, generator.randint(2, 3))
    model = f"{generator.choice('ABCDEKMRTX')}{generator.randint(10, 999)}"
    named = f"{family.brand} {shown[0].title()} {kind.name.title()}"
    title = f"{named} for {purpose.title()}, {shown[1].title()}, {model}"
    phrases = category.attributes
    nouns = [family.brand, *phrases[shown[0]], kind.name, purpose, *phrases[shown[1]], model]
    # The index reads the description and the first bullet: what stands in later bullets has to be looked up.
    description = (
        f"The {family.brand} {model} is a {kind.name} made for {purpose}: {shown[0]}, {shown[1]} and {hidden[0]}."
        f" {_praise(kind, purpose, generator)}"
    )
    bullets = [_praise(kind, purpose, generator), *(f"{attribute}." for attribute in hidden[1:])]
    options = {
        name: generator.sample(values, generator.randint(2, min(5, len(values))))
        for name, values in kind.options.items()
        if generator.random() < 0.85
    }
    price = family.price * generator.uniform(1.0, 1.8)
    bullets = [bullet.capitalize() for bullet in bullets]
    draft = _Draft(asin, title, nouns, description, bullets, category, kind, options, price)
    _add_product(files, draft, generator.random() < 0.1, generator)
    wanted = generator.sample(shown, generator.randint(1, 2)) + generator.sample(hidden, generator.randint(1, 2))
    rest = f" with {' and '.join(wanted[2:])}" if wanted[2:] else ""
    details = {
        "attributes": generator.sample(shown + hidden, len(shown + hidden)),
        "instruction": f"Find me {', '.join(wanted[:2])} {kind.plural} for {purpose}{rest}",
        "instruction_attributes": wanted,
    }
    _add_instructions(files, draft, details, f"i am looking for {' '.join(wanted)} {kind.plural}", generator)


def _small_products(asins: list[str], generator: random.Random, files: GeneratedFiles) -> None:
    remaining = list(asins)
    while remaining:
        category = generator.choice(CATEGORIES)
        kind = generator.choice(category.kinds[:2])
        adjective, material = generator.choice(SMALL_ADJECTIVES), generator.choice(SMALL_MATERIALS)
        name = generator.choice(list(SMALL_OPTIONS))
        size = generator.randint(3, 5)
        for asin in remaining[:size]:
            # One title, prices far apart: the list shows which of the twins the instruction can mean.
            price = float(generator.randint(*generator.choice(SMALL_PRICES)))
            options = {name: generator.sample(SMALL_OPTIONS[name], 2)}
            _small_product(asin, category, kind, (adjective, material), options, price, generator, files)
        remaining = remaining[size:]


def _small_product(
    asin: str,
    category: Category,
    kind: Kind,
    attributes: tuple[str, str],
    options: dict[str, list[str]],
    price: float,
    generator: random.Random,
    files: GeneratedFiles,
) -> None:
    adjective, material = attributes
    title = f"{adjective} {material} {kind.name}"
    bullets = [f"{adjective} and {material}"]
    draft = _Draft(asin, title, [material, kind.name], f"a {title}", bullets, category, kind, options, price)
    _add_product(files, draft, price_range=False, generator=generator)
    wanted = generator.choice(([adjective], [material], [adjective, material]))
    text = f"{' '.join(wanted)} {kind.name}"
    details = {"attributes": list(attributes), "instruction": f"find {text}", "instruction_attributes": wanted}
    _add_instructions(files, draft, details, f"i want {text}", generator)


@dataclass(frozen=True)
class _Draft:
    """What the page of a product says; `price` in dollars."""

    asin: str
    title: str
    nouns: list[str]
    description: str
    bullets: list[str]
    category: Category
    kind: Kind
    options: dict[str, list[str]]
    price: float


def _add_product(files: GeneratedFiles, draft: _Draft, price_range: bool, generator: random.Random) -> None:
    price = round(draft.price, 2)
    groups = {name: [{"value": value, "image": None} for value in values] for name, values in draft.options.items()}
    files.products.append(
        {
            "asin": draft.asin,
            "name": draft.title,
            "full_description": draft.description,
            "small_description": draft.bullets,
            "pricing": f"${price} - ${round(price * generator.uniform(1.1, 1.6), 2)}" if price_range else f"${price}",
            "images": [],
            "customization_options": groups or "",
            "category": draft.category.name,
            "query": draft.kind.plural,
            "product_category": " › ".join((*draft.kind.levels, draft.kind.plural.title())),
            "average_rating": "",
        }
    )
    files.nouns[draft.asin] = [noun.lower() for noun in draft.nouns]


def _add_instructions(
    files: GeneratedFiles, draft: _Draft, details: dict[str, Any], opening: str, generator: random.Random
) -> None:
    files.details[draft.asin] = details
    chosen = [generator.choice(values) for values in draft.options.values()]
    files.human[draft.asin] = [
        {
            "asin": draft.asin,
            "instruction": f"{opening}{' in ' + ' and '.join(chosen) if chosen else ''}.",
            "attributes": details["attributes"],
            "options": chosen,
            "instruction_attributes": details["instruction_attributes"],
            "instruction_options": chosen,
        }
    ]


def _praise(kind: Kind, purpose: str, generator: random.Random) -> str:
    return generator.choice(
        (
            f"chosen by people who need {kind.plural} for {purpose}.",
            f"tested in our own workshop before a {kind.name} leaves it.",
            f"a small thing that makes {purpose} easier.",
            f"made to be used every day, year after year, in {purpose} and elsewhere.",
            f"ask us about other {kind.plural}, we answer within a day.",
        )
    )
