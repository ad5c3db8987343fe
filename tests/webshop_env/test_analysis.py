"""Tokens and stems: properties of the grammar, and cases of the Unicode annex that no recording covers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webshop_env.analysis import _CLASSES, MAX_TOKEN_UNITS, _tokenize_with_limit, analyze, tokenize
from webshop_env.porter import stem


@given(st.text())
def test_tokens_are_pieces_of_the_text_in_order(text: str) -> None:
    position = 0
    for token in tokenize(text):
        position = text.index(token, position) + len(token)
        assert 0 < len(token.encode("utf-16-le", "surrogatepass")) // 2 <= MAX_TOKEN_UNITS


@given(st.text(), st.text())
def test_a_line_break_parts_any_two_texts(left: str, right: str) -> None:
    assert tokenize(f"{left}\n{right}") == tokenize(left) + tokenize(right)


@given(st.text())
def test_terms_do_not_depend_on_the_case_of_ascii_letters(text: str) -> None:
    ascii_text = text.encode("ascii", "ignore").decode()
    assert analyze(ascii_text) == analyze(ascii_text.upper().lower())


@given(st.text(alphabet="aZ09_.:,;' -#*\"", max_size=40))
def test_plain_text_takes_the_short_way_to_the_same_tokens(text: str) -> None:
    assert tokenize(text) == _tokenize_with_limit(text, text.translate(_CLASSES))


@given(st.text(alphabet="aé1٣_.:,;'’·\u200d\ufe0f\u20e3😀🏽Ⓜ🇩ק\"カ日ひก", max_size=20))
def test_both_ways_through_a_text_of_any_script_agree(text: str) -> None:
    assert tokenize(text) == _tokenize_with_limit(text, text.translate(_CLASSES))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("wi-fi 5'8\" 3.5 1,000 u.s.a. x_y 10x12 __", ["wi", "fi", "5'8", "3.5", "1,000", "u.s.a", "x_y", "10x12"]),
        ("a:b 3:4 foo.bar a,b", ["a:b", "3", "4", "foo.bar", "a", "b"]),
        ("👨‍👩‍👧 👍🏽 🇩🇪🇫🇷 3️⃣", ["👨‍👩‍👧", "👍🏽", "🇩🇪", "🇫🇷", "3️⃣"]),
        ("日本語カタカナひら", ["日", "本", "語", "カタカナ", "ひ", "ら"]),
        ("ภาษาไทย ½ ™", ["ภาษาไทย", "™"]),
        ("Ⓜabc", ["Ⓜabc"]),
        ("x" * 255 + "lamp", ["x" * 255, "lamp"]),
        ("𐐀" * 128 + "b", ["𐐀" * 127, "𐐀b"]),
        ("", []),
    ],
)
def test_word_breaks(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("assembly", "assembl"), ("generously", "gener"), ("dying", "dy"), ("ponies", "poni"), ("caresses", "caress"),
        ("hopping", "hop"), ("hoping", "hope"), ("falling", "fall"), ("relational", "relat"), ("possibly", "possibl"),
        ("apology", "apolog"), ("happy", "happi"), ("sky", "sky"), ("controll", "control"), ("adoption", "adopt"),
        ("is", "is"), ("", ""),
    ],
)  # fmt: skip
def test_stems(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize("text", ["_" * 20_000, "‍" * 20_000, "#️" * 20_000, "a" * 20_000, "z‍" * 20_000])
def test_no_text_takes_quadratic_time(text: str) -> None:
    start = time.perf_counter()
    analyze(text)
    assert time.perf_counter() - start < 5
