"""Texts of others are shown with every character that is not seen, and become names without it."""

import json
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from store.text import visible, visible_json, without_unseen

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's control, format and surrogate characters, ends of lines and of paragraphs."""

TEXTS = st.text(st.characters(categories=["L", "M", "N", "P", "S", "Z", "C"]), max_size=40)


def test_no_character_of_these_categories_is_left() -> None:
    for number in range(sys.maxunicode + 1):
        letter = chr(number)
        if unicodedata.category(letter) in UNSEEN:
            assert visible(letter).isascii() and visible(letter).isprintable(), hex(number)
            assert not without_unseen(letter), hex(number)


@given(TEXTS)
def test_what_is_seen_stays(text: str) -> None:
    seen = "".join(letter for letter in text if visible(letter) == letter)
    assert without_unseen(text) == seen == visible(seen)
    assert without_unseen(visible(text)) == visible(text)


def test_plates_names_and_notes_stay_as_they_are() -> None:
    for text in ("辽A12345", "粤Z1234港", "李 梅", "[/]", "<b>", "=1+1", "é𠮷😀", "全角　空格"):
        assert visible(text) == text == without_unseen(text)


def test_escapes_say_which_character_stands_there() -> None:
    assert visible("a\x1b[2J\u202e\U000e0041\ud800\n") == r"a\x1b[2J\u202e\U000e0041\ud800\x0a"
    assert visible("a\n\r", keep_lines=True) == "a\n\\x0d"


@given(st.recursive(TEXTS, lambda inside: st.lists(inside) | st.dictionaries(TEXTS, inside)))
def test_json_says_the_same(value: object) -> None:
    for indent in (None, 2):
        text = visible_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(text) == value
        assert visible(text, keep_lines=True) == text
