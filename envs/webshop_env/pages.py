"""The pages of the shop as ordered text nodes, and the two texts the original makes of them.

The original renders HTML and strips it again; what is left is a list of nodes, which are made here directly. Nothing of
a catalogue is ever rendered as markup or executed: "<b>" in a title stays these three characters.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from webshop_env.catalogue import Product

PLAIN, BUTTON, LABEL, LINK = range(4)
SEPARATOR = " [SEP] "
SUB_PAGES = ("Description", "Features", "Reviews", "Attributes")
BACK, PREVIOUS, NEXT, BUY = "Back to Search", "< Prev", "Next >", "Buy Now"
HTML_BLANKS = " \t\n\r\f"


class Node(NamedTuple):
    """One piece of text on a page: its kind and its words."""

    kind: int
    text: str


class Block:
    """A run of nodes that never changes, with its text made once.

    `targets`: clickable -> the button or link that it is, or Node(LABEL, option group), in the order of the original.
    """

    __slots__ = ("nodes", "targets", "text")

    def __init__(self, nodes: Iterable[tuple[int, str]], options: Iterable[tuple[str, str]] = ()) -> None:
        self.nodes = tuple(Node(kind, kept) for kind, text in nodes if (kept := _kept_by_parser(text)) is not None)
        self.text = SEPARATOR.join(node.text.strip() for node in self.nodes)
        self.targets: dict[str, Node] = {}
        for wanted in (BUTTON, LINK):
            self.targets.update((node.text.lower(), node) for node in self.nodes if node.kind == wanted)
        # A value that occurs in two groups keeps its first place but belongs to the last group.
        self.targets.update((value, Node(LABEL, group)) for group, value in options)


class Page:
    """A page: its blocks in order, the URL, and what can be clicked."""

    __slots__ = ("blocks", "has_search_bar", "targets", "url")

    def __init__(
        self, url: str, blocks: Sequence[Block], targets: Mapping[str, Node], has_search_bar: bool = False
    ) -> None:
        self.url = url
        self.blocks = blocks
        self.targets = targets
        self.has_search_bar = has_search_bar

    def text(self) -> str:
        """Mode `text`: all nodes, stripped, joined by " [SEP] "."""
        return SEPARATOR.join([block.text for block in self.blocks if block.nodes])

    def text_rich(self, visited: Collection[str]) -> str:
        """Mode `text_rich`: a line a node, buttons and chosen options marked. `visited`: asins opened before."""
        lines: list[str] = []
        clicked: list[str] = []
        for block in self.blocks:
            for kind, text in block.nodes:
                if kind == PLAIN:
                    lines.append(text)
                elif kind == BUTTON:
                    lines.append(f"[button] {text} [button_]")
                elif kind == LINK:
                    mark = "clicked button" if text in visited else "button"
                    lines.append(f"\n[{mark}] {text} [{mark}_]")
                # The original looks for the quoted value anywhere in the URL, not in the chosen options.
                elif f'"{text}"' in self.url:
                    lines.append(f"  [clicked button] {text} [clicked button_]")
                    clicked.append(f"You have clicked {text}.\n")
                else:
                    lines.append(f"  [button] {text} [button_]")
        return "".join(reversed(clicked)) + "".join([f"{line}\n" for line in lines])


def _kept_by_parser(text: str) -> str | None:
    """What HTML parsing leaves of a text: nothing of an empty one, one blank of a blank one without a line feed."""
    if text.strip(HTML_BLANKS):
        return text
    return " " if text and "\n" not in text else None


@lru_cache(maxsize=256)
def index_block(instruction: str) -> Block:
    """The search page."""
    # The trailing blank stands on this page only.
    return Block([(PLAIN, "WebShop"), (PLAIN, "Instruction: "), (PLAIN, instruction), (BUTTON, "Search")])


@lru_cache(maxsize=256)
def head_block(instruction: str) -> Block:
    """What stands on top of every page between the search and the purchase."""
    return Block([(PLAIN, "Instruction:"), (PLAIN, instruction), (BUTTON, BACK)])


@lru_cache(maxsize=1024)
def results_block(page: int, total: int) -> Block:
    """What stands above the hits of a results page; `total` is the number of hits on all pages."""
    nodes = [(PLAIN, f"Page {page} (Total results: {total})")]
    if page > 1:
        nodes.append((BUTTON, PREVIOUS))
    return Block([*nodes, (BUTTON, NEXT)])


def hit_block(product: Product) -> Block:
    """A product on a results page."""
    return Block([(LINK, product.asin), (PLAIN, product.title), (PLAIN, product.price_tag)])


def item_block(product: Product, show_attributes: bool) -> Block:
    """A product with its options."""
    nodes = [(BUTTON, PREVIOUS)]
    options = []
    for group, values in product.options.items():
        nodes.append((PLAIN, group))
        nodes += [(LABEL, value) for value in values]
        options += [(group, value) for value in values]
    nodes += [(PLAIN, product.title), (PLAIN, f"Price: {product.price_tag}"), (PLAIN, "Rating: N.A.")]
    nodes += [(BUTTON, name) for name in (SUB_PAGES if show_attributes else SUB_PAGES[:3])]
    return Block([*nodes, (BUTTON, BUY)], options)


def sub_page_block(product: Product, name: str) -> Block:
    """Description, features, reviews (always empty: the text environment loads none) or attributes of a product."""
    nodes = [(BUTTON, PREVIOUS)]
    if name == "Description":
        nodes.append((PLAIN, product.description))
    elif name == "Features":
        nodes += [(PLAIN, f" {bullet}") for bullet in product.bullets]
    elif name == "Attributes":
        nodes += [(PLAIN, f" {attribute}") for attribute in product.attributes]
        nodes += [(PLAIN, product.category), (PLAIN, product.query), (PLAIN, product.product_category)]
    return Block(nodes)


def done_block(asin: str, options: Mapping[str, str], reward: float) -> Block:
    """The page after the purchase, with the spelling of the original."""
    chosen = json.dumps(options, sort_keys=True)
    for character in "<>&'":  # as Jinja's tojson filter writes them
        chosen = chosen.replace(character, f"\\u{ord(character):04x}")
    texts = [
        "Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)",
        "Purchased", "asin", asin, "options", chosen, "attrs", "None", "category", "None", "query", "None",
        "product category", "None", "Target", "asin", "options", "attrs", "price upper", "instuction text", "category",
        "product category", "query", "Goal ", "None", "Reward", "Your score (min 0.0, max 1.0)", str(reward),
        "Reward Details ", "None",
    ]  # fmt: skip
    return Block([(PLAIN, text) for text in texts])
