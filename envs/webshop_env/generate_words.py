"""The vocabulary of generated shops: invented brands, everyday words, no text of any real catalogue."""

from __future__ import annotations

from dataclasses import dataclass

BRAND_STARTS = ("Al", "Bren", "Cor", "Dal", "El", "Fen", "Gal", "Hol", "Il", "Jor", "Kel", "Lum", "Mor", "Nel", "Pel")
BRAND_ENDS = ("bora", "dano", "fira", "gusto", "lenti", "mira", "nova", "porto", "quist", "rella", "sano", "vanti")

COLOURS = ("black", "blue", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
SIZES = ("small", "medium", "large", "x-large", "xx-large")
PACKS = ("1 pack", "2 pack", "4 pack", "6 pack", "12 pack")
LENGTHS = ("3 feet", "6 feet", "10 feet", "15 feet")
FLAVORS = ("vanilla", "honey", "cinnamon", "apple", "ginger", "maple")
SCENTS = ("jasmine", "cedar", "citrus", "vanilla", "unscented")


@dataclass(frozen=True)
class Kind:
    """A kind of product. `levels`: the category path above it; `options`: group -> values; `price`: dollars."""

    name: str
    plural: str
    levels: tuple[str, ...]
    options: dict[str, tuple[str, ...]]
    price: tuple[float, float]


@dataclass(frozen=True)
class Category:
    """Products that share attributes. `attributes`: phrase -> its nouns, as a tagger would find them."""

    name: str
    kinds: tuple[Kind, ...]
    attributes: dict[str, tuple[str, ...]]
    purposes: tuple[str, ...]


def _attributes(text: str) -> dict[str, tuple[str, ...]]:
    """ "long *sleeve; quick drying": phrases apart by ";", nouns marked by "*"."""
    found = {}
    for phrase in text.split(";"):
        words = phrase.split()
        found[" ".join(word.strip("*") for word in words)] = tuple(word[1:] for word in words if word.startswith("*"))
    return found


_SHOE_SIZES = ("7", "8", "9", "10", "11")
_RUG_SIZES = ("2x3", "4x6", "5x8", "8x10")
_LAYOUTS = ("compact", "full")
_CLOTHES = {"color": COLOURS, "size": SIZES}
CATEGORIES = (
    Category(
        "fashion",
        (
            Kind("jacket", "jackets", ("Clothing", "Outerwear"), _CLOTHES, (25, 140)),
            Kind("shirt", "shirts", ("Clothing", "Tops"), _CLOTHES, (9, 45)),
            Kind("hat", "hats", ("Clothing", "Accessories"), {"color": COLOURS}, (6, 35)),
            Kind("socks", "socks", ("Clothing", "Accessories"), {"color": COLOURS, "pack": PACKS}, (5, 30)),
            Kind("boots", "boots", ("Shoes", "Outdoor"), {"color": COLOURS, "size": _SHOE_SIZES}, (30, 160)),
        ),
        _attributes(
            "machine washable; water resistant; quick drying; long *sleeve; slim fit; *arch *support; *rubber *sole;"
            " wrinkle free; hand wash; *faux *fur; elastic *waist; breathable; soft *cotton; warm *wool"
        ),
        ("hiking", "travel", "office", "running", "winter"),
    ),
    Category(
        "beauty",
        (
            Kind("shampoo", "shampoos", ("Beauty", "Hair Care"), {"scent": SCENTS, "pack": PACKS}, (5, 35)),
            Kind("lotion", "lotions", ("Beauty", "Skin Care"), {"scent": SCENTS}, (6, 40)),
            Kind("brush", "brushes", ("Beauty", "Tools"), {"color": COLOURS}, (4, 25)),
            Kind("soap", "soaps", ("Beauty", "Bath"), {"scent": SCENTS, "pack": PACKS}, (3, 20)),
            Kind("mirror", "mirrors", ("Beauty", "Tools"), {"color": COLOURS, "size": SIZES[:3]}, (10, 60)),
        ),
        _attributes(
            "cruelty free; paraben free; sensitive *skin; dry *hair; natural *ingredients; long lasting; *tea *tree;"
            " *coconut *oil; fragrance free; easy clean; alcohol free; *damage *repair; deep cleaning; travel *size"
        ),
        ("daily", "travel", "salon", "family", "night"),
    ),
    Category(
        "electronics",
        (
            Kind("speaker", "speakers", ("Electronics", "Audio"), {"color": COLOURS}, (15, 150)),
            Kind("cable", "cables", ("Electronics", "Cables"), {"color": COLOURS[:4], "length": LENGTHS}, (5, 30)),
            Kind("camera", "cameras", ("Electronics", "Video"), {"color": COLOURS[:4], "pack": PACKS[:3]}, (30, 220)),
            Kind("headphones", "headphones", ("Electronics", "Audio"), {"color": COLOURS}, (12, 180)),
            Kind(
                "keyboard", "keyboards", ("Electronics", "Computers"), {"color": COLOURS, "layout": _LAYOUTS}, (15, 120)
            ),
        ),
        _attributes(
            "noise cancelling; high *speed; fast charging; wireless *bluetooth; hands free; stereo *sound; heavy duty;"
            " gold plated; motion *detection; high *resolution; usb *port; long *battery; water proof; plug *play"
        ),
        ("home", "car", "office", "gaming", "party"),
    ),
    Category(
        "garden",
        (
            Kind("lamp", "lamps", ("Home", "Lighting"), {"color": COLOURS, "size": SIZES[:3]}, (12, 110)),
            Kind("chair", "chairs", ("Home", "Furniture"), {"color": COLOURS}, (35, 240)),
            Kind("rug", "rugs", ("Home", "Decor"), {"color": COLOURS, "size": _RUG_SIZES}, (18, 200)),
            Kind("pillow", "pillows", ("Home", "Bedding"), {"color": COLOURS, "pack": PACKS[:3]}, (8, 60)),
            Kind("shelf", "shelves", ("Home", "Furniture"), {"color": COLOURS, "size": SIZES[:3]}, (20, 150)),
        ),
        _attributes(
            "easy assemble; solid *wood; space saving; *memory *foam; stain resistant; non slip; *steel *frame;"
            " mid century; super soft; double sided; hand woven; eco friendly; dimmable; fully assembled"
        ),
        ("bedroom", "kitchen", "patio", "hallway", "studio"),
    ),
    Category(
        "grocery",
        (
            Kind("cookies", "cookies", ("Grocery", "Snacks"), {"flavor": FLAVORS, "pack": PACKS}, (4, 35)),
            Kind("tea", "teas", ("Grocery", "Beverages"), {"flavor": FLAVORS, "pack": PACKS}, (5, 40)),
            Kind("granola", "granolas", ("Grocery", "Breakfast"), {"flavor": FLAVORS}, (5, 30)),
            Kind("sauce", "sauces", ("Grocery", "Pantry"), {"pack": PACKS}, (4, 25)),
            Kind("nuts", "nuts", ("Grocery", "Snacks"), {"flavor": FLAVORS, "pack": PACKS}, (6, 45)),
        ),
        _attributes(
            "gluten free; non *gmo; sugar free; low *calorie; dairy free; keto friendly; high *protein;"
            " artificial *colors; ready eat; individually wrapped; plant based; organic; low *sodium; *caffeine free"
        ),
        ("school", "party", "breakfast", "travel", "gift"),
    ),
)

SMALL_ADJECTIVES = ("soft", "light", "strong", "warm", "thin", "fresh")
SMALL_MATERIALS = ("wool", "wood", "glass", "paper")
SMALL_OPTIONS = {"color": ("red", "blue", "green"), "size": ("small", "medium", "large"), "pack": ("one", "two", "six")}
