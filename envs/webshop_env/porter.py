"""Porter's stemmer as Lucene's PorterStemFilter runs it.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the author's two published departures
(step 2: "bli" -> "ble" in place of "abli" -> "able", and the added "logi" -> "log").
"""

from __future__ import annotations

STEP_2 = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"),
    ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
    ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
    ("iviti", "ive"), ("biliti", "ble"), ("logi", "log"),
)  # fmt: skip
STEP_3 = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""),
)  # fmt: skip
# The order matters: the first suffix that fits decides, even where its condition then fails.
STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "sion", "tion", "ou", "ism", "ate",
    "iti", "ous", "ive", "ize",
)  # fmt: skip


def stem(word: str) -> str:
    """The stem of a lower-case word; words of one or two UTF-16 units are returned unchanged, as Lucene does."""
    if word.isascii():
        return _stem(word) if len(word) > 2 else word
    # Lucene counts and compares UTF-16 units; a character outside the basic plane is two consonants there.
    if max(word) <= "\uffff":
        return _stem(word) if len(word) > 2 else word
    raw = word.encode("utf-16-le", "surrogatepass")
    units = "".join(chr(int.from_bytes(raw[i : i + 2], "little")) for i in range(0, len(raw), 2))
    if len(units) <= 2:
        return word
    return _stem(units).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _stem(word: str) -> str:
    return _final_letters(_step_4(_replace(_replace(_plural_and_past(word), STEP_2), STEP_3)))


def _is_consonant(word: str, i: int) -> bool:
    letter = word[i]
    if letter in "aeiou":
        return False
    if letter == "y":
        # "y" is a vowel after a consonant; a run of them alternates, so count back to the start of the run.
        start = i
        while start > 0 and word[start - 1] == "y":
            start -= 1
        first_is_consonant = start == 0 or word[start - 1] in "aeiou"
        return first_is_consonant == ((i - start) % 2 == 0)
    return True


def _measure(word: str) -> int:
    """m of the form [C](VC)^m[V]."""
    count, previous_vowel = 0, False
    for i in range(len(word)):
        vowel = not _is_consonant(word, i)
        if previous_vowel and not vowel:
            count += 1
        previous_vowel = vowel
    return count


def _has_vowel(word: str) -> bool:
    return any(not _is_consonant(word, i) for i in range(len(word)))


def _ends_double_consonant(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _is_consonant(word, len(word) - 1)


def _ends_cvc(word: str) -> bool:
    """Consonant, vowel, consonant other than w, x, y at the end: where an "e" was dropped ("hop" of "hoping")."""
    last = len(word) - 1
    return (
        last >= 2
        and _is_consonant(word, last)
        and not _is_consonant(word, last - 1)
        and _is_consonant(word, last - 2)
        and word[last] not in "wxy"
    )


def _plural_and_past(word: str) -> str:
    if word.endswith("s"):
        if word.endswith(("sses", "ies")):
            word = word[:-2]
        elif not word.endswith("ss"):
            word = word[:-1]
    if word.endswith("eed"):
        if _measure(word[:-3]) > 0:
            word = word[:-1]
    else:
        base = word[:-2] if word.endswith("ed") else word[:-3] if word.endswith("ing") else ""
        if base and _has_vowel(base):
            if base.endswith(("at", "bl", "iz")) or (
                not _ends_double_consonant(base) and _measure(base) == 1 and _ends_cvc(base)
            ):
                word = base + "e"
            elif _ends_double_consonant(base) and base[-1] not in "lsz":
                word = base[:-1]
            else:
                word = base
    if word.endswith("y") and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    return word


def _replace(word: str, table: tuple[tuple[str, str], ...]) -> str:
    for suffix, replacement in table:
        if word.endswith(suffix):
            base = word[: -len(suffix)]
            return base + replacement if _measure(base) > 0 else word
    return word


def _step_4(word: str) -> str:
    for suffix in STEP_4:
        if word.endswith(suffix):
            base = word[: -len(suffix)] if suffix not in ("sion", "tion") else word[:-3]
            return base if _measure(base) > 1 else word
    return word


def _final_letters(word: str) -> str:
    if word.endswith("e"):
        measure = _measure(word)
        if measure > 1 or (measure == 1 and not _ends_cvc(word[:-1])):
            word = word[:-1]
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word
