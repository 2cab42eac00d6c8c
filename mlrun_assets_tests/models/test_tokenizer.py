"""The normal form in the tokenizer of a deployed model: every way of asking gives one answer."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.data.text import ALL_STEPS, LOOK_ALIKES, language_profile, normalise
from mlrun_assets.models import export
from mlrun_assets.models.export import deploy_tokenizer, normaliser
from mlrun_assets.models.predictor import Predictor
from mlrun_assets_tests.encoders.tiny_encoders import TOKENIZERS, write_encoder
from mlrun_assets_tests.examples import sample_rows

LIMIT = 32
WAYS = {"som": ALL_STEPS, "khm": language_profile("khm").steps}
SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
TOUCHED = f"{LOOK_ALIKES}{SPACES}\u200b\ufeff\u00ad\u0301\u0323\u0327\u030a"
OTHERS = "ab'Åéßñ_-.5²½Ⅷ٣ⅳ中قक़각ᄀ\u1161\u11a8\u1200\x00\x07\u200d\u2060\U0001f600\U0001d7d9ﬁ"
KINDS = [
    "Hab socdaalkii\u2019s bini\u2019aadamka waxa ay \u2018bilaaben\u2019",
    "la\u02bcaanta lo\u02bbda su`aal go\u00b4aan",
    "waa\xa0maxay\u2003wararka\u3000maanta",
    "xir\u200bfad\u00adlayaal\ufeff",
    unicodedata.normalize("NFD", "Café Žižek Ålesund điện"),
    "caafimaad\r\ncarruurta\n\nku\tsaabsan\x1cwar",
    "  \n ciyaar iyo kubbad \n",
    "\x00war\x07 cusub\x7f",
    "guul \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 weyn \u2764\ufe0f",
    "dhaqaale siyaasad \u2019 " * 1000,
    "\u200b\xa0\n",
    "",
]


def ours(text: str, language: str = "som") -> str:
    return normalise(text, WAYS[language]).text


@pytest.mark.parametrize("language", WAYS)
def test_it_changes_what_normalise_changes(language: str) -> None:
    theirs = normaliser(WAYS[language]).normalize_str
    every = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    for start in range(0, len(every), 4096):
        some = every[start : start + 4096]
        for text in (
            " ".join(f"a\u2019{one} {one}\u2019a {one}\u2019{one}" for one in some),
            "".join(f"a{one}b{one}{one}" for one in some),
            *(f"{one}a\xa0{one}" for one in some if one.isspace()),
        ):
            assert theirs(text) == ours(text, language)


@pytest.mark.parametrize("language", WAYS)
@given(
    text=st.lists(
        st.sampled_from([*TOUCHED, *OTHERS]) | st.characters(max_codepoint=0x6FF), max_size=20
    ).map("".join)
)
def test_mixtures_of_what_it_changes(language: str, text: str) -> None:
    normal = ours(text, language)
    theirs = normaliser(WAYS[language]).normalize_str
    assert theirs(text) == normal
    assert theirs(normal) == normal


@pytest.mark.parametrize("family", TOKENIZERS)
def test_raw_texts_get_the_ids_of_their_normal_form(family: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    write_encoder(family, tmp_path)
    before = AutoTokenizer.from_pretrained(str(tmp_path))
    texts = [*KINDS, *(row["text"] for row in sample_rows("test")[:20])]
    expected = before([ours(text) for text in texts], truncation=True, max_length=LIMIT)
    deploy_tokenizer(tmp_path, ALL_STEPS, LIMIT)
    after = AutoTokenizer.from_pretrained(str(tmp_path))
    assert after(texts, truncation=True) == expected
    assert max(map(len, expected["input_ids"])) == LIMIT


@pytest.mark.slow  # torch's ONNX exporter
@pytest.mark.parametrize("kind", ["tiny_model", "tiny_ensemble"])
def test_all_ways_of_asking_give_one_answer(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from transformers import pipeline

    from mlrun_assets.models.onnx_export import write_graph
    from mlrun_assets.models.served.ensemble_pipeline import EnsemblePipeline
    from mlrun_assets.models.served.onnx_classifier import OnnxClassifier

    trained, deployed = request.getfixturevalue(kind), tmp_path / "export"
    shutil.copytree(trained, deployed)
    deploy_tokenizer(deployed, ALL_STEPS, LIMIT)
    export.add_reader(deployed, deployed / "onnx", LIMIT)
    write_graph(deployed, deployed / "onnx" / "model.onnx")
    # As evaluated: the checkpoint on texts in normal form.
    evaluated = Predictor(trained, LIMIT, exact=True)
    expected = evaluated.probabilities([ours(text) for text in KINDS])
    settings = {"pipeline_class": EnsemblePipeline} if kind == "tiny_ensemble" else {}
    classify = pipeline("text-classification", model=str(deployed), truncation=True, **settings)
    answers = [
        [{each["label"]: each["score"] for each in row}[label] for label in evaluated.labels]
        for row in classify(KINDS, top_k=None)
    ]
    ways = {
        "predict": Predictor(deployed, LIMIT, exact=True).probabilities([*map(ours, KINDS)]),
        "predictor": Predictor(deployed, LIMIT, exact=True).probabilities(KINDS),
        "pipeline": np.array(answers),
        "onnx": OnnxClassifier(deployed / "onnx").probabilities(KINDS),
    }
    for way, found in ways.items():
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=way)
