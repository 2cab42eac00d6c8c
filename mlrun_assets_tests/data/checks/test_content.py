import pytest

from mlrun_assets_tests.examples import SOMALI, check_texts


def test_a_text_of_one_word_warns() -> None:
    result = check_texts("empty_or_short", [*SOMALI, "Haa"])
    assert result.warns
    assert (result.rows, result.value) == (1, 1)
    assert result.message.startswith("1 text with fewer than 2 words")


def test_texts_of_two_words_are_long_enough() -> None:
    result = check_texts("empty_or_short", [*SOMALI, "Haa waa"])
    assert not result.warns
    assert not check_texts("empty_or_short", ["Haa"], min_words=1).warns


def test_a_text_of_too_many_characters_warns() -> None:
    result = check_texts("too_long", [*SOMALI, "qoraal " * 20_000])
    assert result.warns
    assert (result.rows, result.value) == (1, 139_999)
    assert not check_texts("too_long", SOMALI).warns
    assert check_texts("too_long", SOMALI, max_characters=40).rows == 3 * len(SOMALI)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ii soo qor asha.cali@tusaale.so maanta", "1 e-mail address"),
        ("Wac +252 61 234 5678 ama 061-234-5678", "2 phone numbers"),
        ("Wac +252612345678, (0612345678)", "2 phone numbers"),
        ("Ka eeg https://tusaale.so/a?b=1 iyo www.tusaale.so", "2 URLs"),
    ],
)
def test_what_identifies_a_person_is_counted(text: str, said: str) -> None:
    result = check_texts("pii", [*SOMALI, text])
    assert result.warns
    assert result.message.startswith(f"{said} in 1 row")
    assert result.rows == 1


@pytest.mark.parametrize(
    "text",
    [
        "Sannadihii 1991-2012 iyo 2019 2020 2021",
        "Lacag dhan 1,500,000 iyo 250000000 oo doolar",
        "Natiijada 3-2 iyo 10-ka Sebteembar 2021-09-10, 0.05",
        "@isticmaale ayaa yiri a @ b",
    ],
)
def test_years_amounts_and_scores_are_no_phone_numbers(text: str) -> None:
    assert not check_texts("pii", [*SOMALI, text]).warns
