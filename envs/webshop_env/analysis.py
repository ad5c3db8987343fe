"""Text -> search terms, as Anserini's DefaultEnglishAnalyzer (Lucene 9) makes them.

Tokens by the word-break rules of Unicode Standard Annex 29 in the form of Lucene's StandardTokenizer (its grammar:
lucene/core/.../StandardTokenizerImpl.jflex), then: possessive 's off, lower case, stop words out, Porter stems.

The grammar is written over classes, not characters: every character of the text becomes the letter of its class
(`word_break_12_1.txt`), and one regular expression runs over the string of classes:

    a letter   A letter that is also an emoji   H Hebrew letter   0 digit   n other numeral   K Katakana   _ joiner
    l : (between letters)   d , ; (between digits)   b . ’ (between either)   q '   Q "
    x mark or format   f, v presentation marks   z emoji joiner   k keycap   m skin tone   t T tags
    s Thai, Lao, Khmer, Myanmar   S their marks   h ideograph   j Hiragana   e pictograph   r flag letter   # for #, *
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import lru_cache
from pathlib import Path

from webshop_env.porter import stem

STOP_WORDS = frozenset(
    [
        "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not",
        "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was",
        "will", "with",
    ]
)  # fmt: skip
MAX_TOKEN_UNITS = 255  # UTF-16 units: Lucene's scanner sees no more than these from the start of a token
POSSESSIVES = ("'s", "’s", "＇s", "'S", "’S", "＇S")


class _Classes(dict[int, str]):
    """Code point -> class letter, filled from the ranges as characters are met; a blank for what makes no token."""

    def __init__(self) -> None:
        super().__init__()
        ranges = []
        for line in (Path(__file__).parent / "word_break_12_1.txt").read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                first, last = line.split()[0].split("..")
                ranges.append((int(first, 16), int(last, 16), line.split()[1]))
        self._ranges = ranges
        self._firsts = [first for first, _, _ in ranges]

    def __missing__(self, point: int) -> str:
        place = bisect_right(self._firsts, point) - 1
        found = place >= 0 and point <= self._ranges[place][1]
        letter = self[point] = self._ranges[place][2] if found else " "
        return letter


def _word_rule() -> str:
    extend = "[xfvzkmtTS]*+"
    joiner = f"(?:_{extend})"
    letter = f"(?:[aA]{extend})++(?:[lbq]{extend}(?=[aAH]))?"
    hebrew = f"H{extend}(?:q{extend}|Q{extend}(?=H)|[lb]{extend}(?=[aAH]))?"
    number = f"(?:[0n]{extend})++(?:[dbq]{extend}(?=[0n]))?"
    segment = f"(?:(?:K{extend})++|(?:{letter}|{hebrew}|{number})++)"
    # Bounded at the start: a run of joiners that leads to no token must not be read again from each of its characters.
    return f"{joiner}{{0,{MAX_TOKEN_UNITS}}}+{segment}(?:{joiner}++{segment})*+{joiner}*+"


def _emoji_rule() -> str:
    extend = "[xfvzkmtTS]*+"
    # A joiner of emoji stays outside the marks of one pictograph if the next pictograph follows it.
    marks = "(?:[xkmtTS]|z++(?![eA]))*+"
    pictograph = f"[eA]{marks}f?"
    sequence = f"(?:z{{0,{MAX_TOKEN_UNITS}}}+{pictograph}|m{marks})(?:t++T|(?:z++{pictograph}|zm{marks})*+)"
    return f"{sequence}|[0#][xzkmtTS]*f?k[xzkmtTS]*+|r{extend}r{extend}"


_CLASSES = _Classes()
_EMOJI = re.compile(_emoji_rule())
# The same rules for text of plain ASCII, without the detour over classes.
_ASCII_RUN = "(?:[A-Za-z]++(?:[:.'](?=[A-Za-z]))?|[0-9]++(?:[.,;'](?=[0-9]))?)++"
_ASCII_TOKEN = re.compile(f"_{{0,{MAX_TOKEN_UNITS}}}+{_ASCII_RUN}(?:_++{_ASCII_RUN})*+_*+")
_TOKEN = re.compile(f"{_word_rule()}|{_emoji_rule()}|(?:[sS][xfvzkmtTS]*+)++|[hj][xfvzkmtTS]*+")


def tokenize(text: str) -> list[str]:
    """The tokens of a text in order, as Lucene's StandardTokenizer cuts them (Unicode 12.1)."""
    if text.isascii():
        tokens: list[str] = _ASCII_TOKEN.findall(text)
        if max(map(len, tokens), default=0) <= MAX_TOKEN_UNITS:
            return tokens
    classes = text.translate(_CLASSES)
    if "A" not in classes:
        spans = [match.span() for match in _TOKEN.finditer(classes)]
        # 127 characters are at most 254 units, so no token here can meet the limit.
        if all(end - start <= MAX_TOKEN_UNITS // 2 for start, end in spans):
            return [text[start:end] for start, end in spans]
    return _tokenize_with_limit(text, classes)


def _tokenize_with_limit(text: str, classes: str) -> list[str]:
    """The same, for texts with very long tokens or with characters that begin a word as well as an emoji."""
    tokens = []
    position = 0
    while position < len(text):
        limit = _unit_limit(text, position)
        match = _TOKEN.match(classes, position, limit)
        if match is None:
            position += 1
            continue
        end = match.end()
        if classes[position] == "A":
            emoji = _EMOJI.match(classes, position, limit)
            end = max(end, emoji.end() if emoji else end)
        tokens.append(text[position:end])
        position = end
    return tokens


def _unit_limit(text: str, start: int) -> int:
    """First index that lies no longer within MAX_TOKEN_UNITS UTF-16 units of `start`."""
    window = text[start : start + MAX_TOKEN_UNITS]
    if window.isascii():
        return start + len(window)
    units = 0
    for offset, character in enumerate(window):
        units += 2 if character > "\uffff" else 1
        if units > MAX_TOKEN_UNITS:
            return start + offset
    return start + len(window)


@lru_cache(maxsize=1 << 17)
def term_of(token: str) -> str:
    """The search term of one token; empty for a stop word."""
    if token.endswith(POSSESSIVES):
        token = token[:-2]
    if token.isascii():
        token = token.lower()
    else:  # character by character with one-character results, as Java does: no final sigma, İ -> i
        token = "".join(character.lower()[0] for character in token)
    return "" if token in STOP_WORDS else stem(token)


def analyze(text: str) -> list[str]:
    """The search terms of a document or a query, in order, with repeats."""
    return [term for token in tokenize(text) if (term := term_of(token))]
