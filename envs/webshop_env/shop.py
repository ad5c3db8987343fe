"""A shop: catalogue, prices, goals and search, from the official files."""

from __future__ import annotations

import json
import os
import random
import sys
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from webshop_env import nouns as noun_files
from webshop_env.catalogue import Catalogue, LoadReport, Product, clean_products
from webshop_env.goals import Goals, draw_prices
from webshop_env.nouns import TitleNouns
from webshop_env.pages import Block, hit_block, item_block
from webshop_env.records import ShopDataError, cache_folder, file_key, iter_array, iter_object
from webshop_env.search import Retriever, Search
from webshop_env.store import StoredProducts, write_products

PRODUCT_FILES = {"1k": "items_shuffle_1000.json", "full": "items_shuffle.json"}
DETAIL_FILES = {"1k": "items_ins_v2_1000.json", "full": "items_ins_v2.json"}
HUMAN_FILES = ("items_human_ins.json", "items_human_ins_1k.json")
NOUN_FILES = ("title_nouns.json", "title_nouns_sm38.json")
IN_MEMORY_BYTES = 64 << 20  # a larger product file is unpacked to the cache folder and read from there
CACHED_BLOCKS = 8192
EAGERLY_TAGGED = 20_000  # products; the titles of larger catalogues are tagged when a purchase needs them

Size = Literal["1k", "full"]


class Shop:
    """A catalogue with the prices of one price seed, its goals, and a search (built, or mapped, at the first query).

    page_size: products on a results page; the original shows ten.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        price_seed: int = 0,
        human: dict[str, Any] | None = None,
        search: Retriever | None = None,
        page_size: int = 10,
        name: str = "shop",
    ) -> None:
        generator = random.Random(price_seed)
        self.catalogue = catalogue
        self._prices = draw_prices(catalogue, generator)
        self.goals = Goals(catalogue, generator, self._prices, human)
        self.price_seed = price_seed
        self.page_size = page_size
        self.name = name
        self._search = search
        self._blocks: dict[tuple[str, str], Block] = {}

    @cached_property
    def search(self) -> Retriever:
        """The retriever: the one given, else BM25 as in the original."""
        return self._search or Search(self.catalogue)

    def price(self, asin: str) -> float:
        """What a product costs in dollars, with the draws of this price seed."""
        return self._prices[self.catalogue.number(asin)]

    @cached_property
    def prices(self) -> dict[str, float]:
        """asin -> `price(asin)` of the whole catalogue."""
        return dict(zip(self.catalogue.asins, self._prices, strict=True))

    def hit_block(self, asin: str) -> Block:
        """A product as results pages show it; the latest few thousand are kept, for all shoppers together."""
        return self._block(("hit", asin), hit_block)

    def item_block(self, asin: str, show_attributes: bool) -> Block:
        """A product's page, as far as it is the same for every shopper; the latest few thousand are kept."""
        if show_attributes:
            return self._block(("item with attributes", asin), lambda product: item_block(product, True))
        return self._block(("item", asin), lambda product: item_block(product, False))

    def _block(self, key: tuple[str, str], make: Callable[[Product], Block]) -> Block:
        block = self._blocks.get(key)
        if block is None:
            if len(self._blocks) >= CACHED_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            block = self._blocks[key] = make(self.catalogue[key[1]])
        return block

    def __repr__(self) -> str:
        goals = f"{len(self.goals)} {self.goals.kind} goals, price seed {self.price_seed}"
        return f"Shop({self.name}: {len(self.catalogue)} products, {goals})"


def load_shop(
    path: str | Path | None = None,
    goals: Literal["synthetic", "human"] = "synthetic",
    price_seed: int = 0,
    size: Size | None = None,
    search: Retriever | None = None,
) -> Shop:
    """The official shop in the folder `path` (None: $WEBSHOP_DATA).

    size: "1k" or "full"; None takes what the folder has, the 1,000 products first. Raises ShopDataError, in one line,
    for a missing folder or file and for files that are not WebShop's.
    """
    if goals not in ("synthetic", "human"):
        raise ShopDataError(f"no goals '{goals}': take synthetic or human")
    folder = _data_folder(path)
    if size is None:
        only_full = (folder / PRODUCT_FILES["full"]).exists() and not (folder / PRODUCT_FILES["1k"]).exists()
        size = "full" if only_full else "1k"
    if size not in PRODUCT_FILES:
        raise ShopDataError(f"no size '{size}' of the official shop: take 1k or full")
    products = _need(folder, (PRODUCT_FILES[size],), size)
    details = _need(folder, (DETAIL_FILES[size],), size)
    human = json.loads(_need(folder, HUMAN_FILES, size).read_text(encoding="utf-8")) if goals == "human" else None
    catalogue = _load_catalogue(folder, products, details)
    return Shop(catalogue, price_seed, human, search, name=f"webshop-{size}")


def _data_folder(path: str | Path | None) -> Path:
    path = path or os.environ.get("WEBSHOP_DATA")
    if not path:
        raise ShopDataError("no shop given: pass a folder or set WEBSHOP_DATA (fetch one with: encore data webshop)")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ShopDataError(f"{folder} is no folder: fetch the official files with: encore data webshop")
    return folder


def _need(folder: Path, names: tuple[str, ...], size: str) -> Path:
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        raise ShopDataError(f"{folder} has no {names[0]} (size {size}): fetch it with: encore data webshop")
    return found


def _load_catalogue(folder: Path, products: Path, details: Path) -> Catalogue:
    key, cache = file_key(products, details), cache_folder()
    report, table = LoadReport(), TitleNouns()
    if products.stat().st_size > IN_MEMORY_BYTES:
        unpacked = cache / f"products-{key}.jsonl"
        report_path = unpacked.with_suffix(".report.json")
        if not report_path.exists():
            print(f"unpacking {products.name} to {unpacked}, once", file=sys.stderr)
            try:
                write_products(clean_products(iter_array(products), _read_details(details), table, report), unpacked)
                report_path.write_text(json.dumps(vars(report)), encoding="utf-8")
            except OSError as error:
                raise ShopDataError(f"{unpacked}: {error.strerror}, set WEBSHOP_CACHE to a folder with room") from error
        stored = StoredProducts(unpacked, table)
        report = LoadReport(**json.loads(report_path.read_text(encoding="utf-8")))
        catalogue = Catalogue(stored, None, report, key, cache, table)
    else:
        kept = list(clean_products(iter_array(products), _read_details(details), table, report))
        catalogue = Catalogue(kept, None, report, key, cache, table)
    if not len(catalogue):
        raise ShopDataError(f"{products} holds no product that can be sold: {report}")
    if len(catalogue) <= EAGERLY_TAGGED:
        _load_nouns(catalogue, folder, cache / f"title_nouns-{key}.json")
    return catalogue


class _Details(dict[str, bytes]):
    """asin -> details, kept as the bytes of their JSON: a tenth of the memory of the objects."""

    def get(self, asin: str, default: Any = None) -> Any:
        stored = super().get(asin)
        return default if stored is None else json.loads(stored)


def _read_details(path: Path) -> _Details:
    return _Details(
        (asin, json.dumps(details, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        for asin, details in iter_object(path)
    )


def _load_nouns(catalogue: Catalogue, folder: Path, cached: Path) -> None:
    """Noun sets from the data folder, else from the cache, else tagged now and cached; without spaCy they stay unknown
    until a purchase needs one."""
    titles = {product.asin: product.title for product in catalogue}
    paths = [folder / name for name in NOUN_FILES] + [cached]
    found = next((path for path in paths if path.exists()), None)
    if found is not None:
        catalogue.nouns.merge(noun_files.read_nouns(found, titles))
    if noun_files.can_tag() and catalogue.nouns.complete(titles.values()):
        try:
            noun_files.write_nouns(cached, catalogue.nouns, titles)
        except OSError as error:
            warnings.warn(f"{cached}: {error.strerror}, noun sets are not kept: set WEBSHOP_CACHE", stacklevel=3)
