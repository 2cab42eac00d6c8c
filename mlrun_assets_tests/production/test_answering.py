"""Rows to answers with a classifier that counts words: what it must say is known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlrun_assets.errors import DataError
from mlrun_assets.production import answers as occlusion
from mlrun_assets.production.answers import (
    MOST_OCCLUSIONS,
    WINDOW_CHARACTERS,
    WINDOW_ROWS,
    WORDS_EXPLAINED,
    PredictOptions,
    TextRow,
    answer_rows,
    draft_digits,
    windows,
)
from mlrun_assets.types import Probabilities


class Counting:
    """Each `gool` speaks for sports by 1, each `beer` for farming by 2, in log-odds."""

    labels = ("farming", "sports")

    def __init__(self, accept_confidence: float | None = None) -> None:
        self.accept_confidence = accept_confidence
        self.asked: list[list[str]] = []

    def probabilities(self, texts: list[str]) -> Probabilities:
        self.asked.append(texts)
        odds = np.array(
            [text.split().count("gool") - 2.0 * text.split().count("beer") for text in texts]
        )
        sports = 1 / (1 + np.exp(-odds))
        return np.stack([1 - sports, sports], axis=1)


def row(text: str, place: str = "rows.jsonl, line 1", **keys: Any) -> TextRow:
    return TextRow(place, {"text": text, **keys}, text, len(text))


def bad(place: str, **keys: Any) -> TextRow:
    return TextRow(place, keys, "", 10, "not JSON: unexpected character")


def answered(rows: list[TextRow], **wanted: bool) -> list[dict[str, Any]]:
    return list(chain.from_iterable(answer_rows(rows, Counting(), PredictOptions(**wanted))))


def test_an_answer_has_the_keys_of_its_row_and_ours() -> None:
    told = {"text": "beer", "id": 7, "label": "farming", "probability": 0.88}
    assert answered([row("beer", id=7)]) == [told]
    told["probabilities"] = {"farming": 0.88, "sports": 0.12}
    assert answered([row("beer", id=7)], all_labels=True) == [told]
    # What was computed exactly has six decimals.
    (exact,) = answered([row("beer", id=7)], all_labels=True, explanation=True)
    assert exact["probability"] == 0.880797
    assert exact["probabilities"] == {"farming": 0.880797, "sports": 0.119203}


def test_with_a_threshold_each_label_is_accepted_or_not() -> None:
    rows, classifier = [row("beer", accepted="by Hodan"), row("gool")], Counting(0.8)
    (answers,) = answer_rows(rows, classifier, PredictOptions())
    assert [answer["accepted"] for answer in answers] == [True, False]  # 0.88 and 0.73
    assert answers[0]["input_accepted"] == "by Hodan"
    assert "accepted" not in answered([row("beer")])[0]


@given(st.floats(-12, 12), st.sampled_from([-0.09, 0.09]))
@example(-11.734375, -0.09)
def test_the_digits_of_a_draft_are_as_true_as_it_is(logit: float, error: float) -> None:
    """Off by as much as the logits of 99 texts in 100; no digit says more, and the order stays."""
    true, read = (1 / (1 + np.exp(-each)) for each in (logit, logit + error))
    told = float(draft_digits(np.array([[read]]))[0, 0])
    nearest = min(read, 1 - read)
    rounding = max(0.05 * nearest, 5e-7) * 1.001
    assert abs(told - read) <= rounding
    assert abs(told - true) <= rounding + 0.1 * nearest
    assert 0.0 < told < 1.0 if nearest > 1e-6 else True
    assert len(f"{told:f}".rstrip("0").partition(".")[2]) <= 6


def test_drafts_by_hand() -> None:
    drafts = np.array([[0.834567, 0.5, 0.962345, 0.0371234, 0.998712, 0.00000012, 1.0, 0.0]])
    wanted = [[0.83, 0.5, 0.962, 0.037, 0.9987, 0.0, 1.0, 0.0]]
    assert draft_digits(drafts).tolist() == wanted


def test_what_was_labelled_is_labelled_again_and_what_it_had_under_our_names_stays() -> None:
    keys: dict[str, Any] = {"label": "gold", "error": None}
    for _ in range(3):
        keys = answered([TextRow("line 1", keys, "gool", 4)])[0]
    assert keys["input_label"] == "gold" and keys["input_error"] is None and "error" not in keys
    assert keys["input_input_label"] == keys["input_input_input_label"] == "sports"
    both = answered([row("gool", label="a", input_label="b")])[0]
    assert (both["input_label"], both["input_input_label"]) == ("b", "a")


@given(st.lists(st.sampled_from(["gool", "beer", "gool gool", ""]), max_size=300))
def test_answers_come_in_the_order_of_the_rows(texts: list[str]) -> None:
    rows = [row(text, id=at) if text else bad(f"line {at}", id=at) for at, text in enumerate(texts)]
    answers = answered(rows, skip_invalid=True)
    assert [answer["id"] for answer in answers] == list(range(len(texts)))
    labels = {"gool": "sports", "beer": "farming", "gool gool": "sports"}
    for answer, text in zip(answers, texts, strict=True):
        error = None if text else "not JSON: unexpected character"
        assert (answer.get("label"), answer.get("error")) == (labels.get(text), error)


def test_a_bad_row_stops_after_the_rows_before_it() -> None:
    rows = [row("gool"), row("beer"), bad("rows.jsonl, line 3"), row("gool")]
    windows_told = answer_rows(rows, Counting(), PredictOptions())
    assert [answer["label"] for answer in next(windows_told)] == ["sports", "farming"]
    with pytest.raises(DataError, match=r"rows\.jsonl, line 3: not JSON.*--skip-invalid"):
        next(windows_told)


@pytest.mark.parametrize("wanted", [PredictOptions(), PredictOptions(explanation=True)])
def test_a_million_lines_are_never_in_memory_at_once(wanted: PredictOptions) -> None:
    given_out, taken_back = 0, 0
    limit = WINDOW_ROWS // MOST_OCCLUSIONS if wanted.explanation else WINDOW_ROWS

    def lines() -> Iterator[TextRow]:
        nonlocal given_out
        for _ in range(2_000 if wanted.explanation else 20_000):
            given_out += 1
            assert given_out - taken_back <= limit
            yield row("gool")

    classifier = Counting()
    for window in answer_rows(lines(), classifier, wanted):
        taken_back += len(window)
        assert all(len(texts) <= WINDOW_ROWS for texts in classifier.asked)
        classifier.asked.clear()
    assert taken_back == given_out


def test_windows_grow_and_end_early_at_long_rows() -> None:
    sizes = [len(window) for window in windows(["gool"] * 10_000, len)]
    assert sizes[:3] == [64, 128, 256] and sizes[6] == WINDOW_ROWS
    waiting = [None, "gool", "beer", None, None, "gool", None]
    assert list(windows(waiting, len)) == [["gool", "beer"], ["gool"]]
    long = windows(range(5), lambda _: WINDOW_CHARACTERS // 2)
    assert list(long) == [[0, 1], [2, 3], [4]]


def test_the_copies_of_long_texts_without_their_words_are_not_all_made_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ["waa gool iyo beer " + "waa " * 300, "gool", "beer " * 300]
    at_once = answered([row(text) for text in texts], explanation=True)
    monkeypatch.setattr(occlusion, "WINDOW_CHARACTERS", 5000)
    classifier = Counting()
    rows = [row(text) for text in texts]
    (in_pieces,) = answer_rows(rows, classifier, PredictOptions(explanation=True))
    assert in_pieces == at_once
    whole, *pieces = classifier.asked
    assert len(pieces) > 10
    assert max(sum(map(len, piece)) for piece in pieces) < 5000 + max(map(len, whole))


def test_no_rows_are_no_question() -> None:
    classifier = Counting()
    assert list(answer_rows([], classifier, PredictOptions())) == []
    list(answer_rows([bad("line 1", id=1)], classifier, PredictOptions(skip_invalid=True)))
    assert classifier.asked == []


def test_the_words_that_moved_the_label_come_first_with_what_is_left_without_them() -> None:
    words = answered([row("waa gool iyo beer")], explanation=True)[0]["words"]
    assert [(word["text"], word["position"]) for word in words[:2]] == [("beer", 3), ("gool", 1)]
    # Farming, by odds of 2 - 1; without `beer` they are -1, without `gool` 2.
    assert words[0]["probability_without"] == pytest.approx(0.268941)
    assert words[0]["change"] == pytest.approx(np.log(0.268941 / 0.731059), abs=1e-4)
    assert words[1]["change"] == pytest.approx(np.log(0.880797 / 0.731059), abs=1e-4)
    assert [word["change"] for word in words[2:]] == [0.0, 0.0]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 130, 5000])
def test_a_long_text_is_taken_apart_into_no_more_windows_than_said(count: int) -> None:
    text = " ".join(["eray"] * (count - 1) + ["gool"])
    classifier = Counting()
    window = next(iter(answer_rows([row(text)], classifier, PredictOptions(explanation=True))))
    without = classifier.asked[1]
    assert len(without) <= MOST_OCCLUSIONS
    left_out = [count - len(each.split()) for each in without]
    assert sum(left_out) == min(count, WORDS_EXPLAINED)
    strongest = window[0]["words"][0]
    if count <= WORDS_EXPLAINED:
        assert strongest["text"].split()[-1] == "gool"
        assert strongest["position"] <= count - 1 < strongest["position"] + max(left_out)
