"""Which passwords may be chosen."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from store.passwords import MAX_PASSWORD, MIN_PASSWORD, check_password
from store.refusals import Unacceptable

GOOD = [
    "correct horse battery",
    "night shift 2026",
    "something else",
    "a long enough one",
    "北京到沈阳七百多公里",
    "gTzXw0sRqk1-Vm4_",
    "4fz9-77ab-13cd",
    "anna drives a red lorry",
    "          x yz abcqwv",
]
COMMON = [
    "1234567890",
    "12345678901234567890",
    "0987654321",
    "1111111111",
    "1212121212121",
    "aaaaaaaaaaaaaaaaaaaaaaa",
    "a123456789",
    "woaini1314",
    "woaini5201314",
    "52013145201314",
    "password123",
    "Password2026!",
    "P@ssw0rd1234",
    "passwordpassword",
    "qwertyuiop",
    "QWERTYuiop123",
    "1qaz2wsx3edc",
    "administrator",
    "mimamimamima",
    "我的密码1234567",
    "i love you 2026",
    "beidou20080808",
    "１２３４５６７８９０",
]


@pytest.mark.parametrize("password", GOOD)
def test_long_ones_may_be_chosen_whatever_they_are_made_of(password: str) -> None:
    check_password(password, "anna", "安娜")


@pytest.mark.parametrize("password", COMMON)
def test_those_that_are_guessed_first_may_not(password: str) -> None:
    with pytest.raises(Unacceptable) as refused:
        check_password(password, "mei")
    assert refused.value.code == "password_is_common"


@pytest.mark.parametrize("name", ["anna", "wang.fang", "13912345678", "王芳", "bo", "Müller", "dispatch-2"])
@pytest.mark.parametrize(
    "form", ["{0}{0}{0}{0}{0}", "{0}20261129", "2026{0}!!!!!", "{1}1234567890", "{0}abc12345", "{2}12345678"]
)
def test_the_name_may_not_be_the_password(name: str, form: str) -> None:
    password = form.format(name, name[::-1], name.upper())
    assert len(password) >= MIN_PASSWORD
    with pytest.raises(Unacceptable) as refused:
        check_password(password, name)
    assert refused.value.code in ("password_is_name", "password_is_common")


def test_the_name_of_a_person_counts_too() -> None:
    with pytest.raises(Unacceptable, match="name"):
        check_password("Wang Fang 1988", "w1", "wang fang")


@given(st.text(max_size=MIN_PASSWORD - 1))
def test_short_ones_are_too_short(password: str) -> None:
    with pytest.raises(Unacceptable):
        check_password(password, "anna")


def test_the_length_is_bounded() -> None:
    words = " ".join(f"word{number}" for number in range(60))
    check_password(words[:MAX_PASSWORD], "anna")
    with pytest.raises(Unacceptable):
        check_password(words[: MAX_PASSWORD + 1], "anna")


@given(st.text(min_size=MIN_PASSWORD, max_size=40), st.text(max_size=20))
def test_every_text_is_judged_and_its_letters_size_changes_nothing(password: str, name: str) -> None:
    def verdict(text: str) -> str:
        try:
            check_password(text, name)
        except Unacceptable as refused:
            return refused.code
        return ""

    assume(password.upper().casefold() == password.casefold() and len(password.upper()) <= MAX_PASSWORD)
    assert verdict(password) == verdict(password.upper())
