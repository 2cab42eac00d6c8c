from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from mlrun_assets import records as r
from mlrun_assets.config import DataConfig
from mlrun_assets.markdown import visible
from mlrun_assets.reports.model_card import render_model_card
from mlrun_assets_tests.examples import (
    changed_run,
    full_run,
    onnx_export,
    poisoned,
    run_with_model,
)
from mlrun_assets_tests.reports.markdown_structure import kinds, uneven_rows
from mlrun_assets_tests.reports.regenerate_golden import BASE_MODEL, DATA


def card_with(stage: str, **changes: object) -> str:
    return render_model_card(changed_run(stage, **changes), DATA, BASE_MODEL)


def card_of(chosen: str) -> str:
    return render_model_card(run_with_model(chosen), DATA, BASE_MODEL)


def python_blocks(card: str) -> list[str]:
    return [block.partition("```")[0] for block in card.split("```python\n")[1:]]


def test_the_library_of_the_hub_reads_the_head() -> None:
    run = full_run()
    assert run.evaluation
    test = run.evaluation.test
    card = ModelCard(card_with("dataset", name="masakhanews: som"))
    found = {each.metric_name: each for each in card.data.eval_results}
    assert {name: each.metric_value for name, each in found.items()} == {
        "Accuracy": pytest.approx(test.accuracy.value),
        "Macro-F1": pytest.approx(test.f1_macro.value),
        "Weighted-F1": pytest.approx(test.f1_weighted.value),
    }
    assert {each.dataset_name for each in found.values()} == {"masakhanews: som"}
    assert card.text.startswith(f"\n# {run.manifest.name}\n")


def test_unknown_facts_are_left_out_of_the_head() -> None:
    card = render_model_card(full_run(), DataConfig(), None)
    assert not {"license", "base_model"} & set(ModelCard(card).data.to_dict())
    assert "Licence: not stated." in card
    assert "a fine-tuned local encoder and a linear model on words" in card
    assert "None" not in card


def test_a_text_of_several_columns_is_described() -> None:
    two = DataConfig(text_columns=("headline", "body"))
    assert "the columns headline, body," in render_model_card(full_run(), two, None)
    assert "the columns" not in render_model_card(full_run(), DataConfig(), None)


def test_only_the_outcomes_of_the_rules_are_published() -> None:
    broken = "the model in production can't be used: /home/asha/production/model has no weights"
    rule = r.RuleResult(
        rule="policy", outcome=r.RuleOutcome.INCOMPARABLE, value=None, limit=None, sentence=broken
    )
    card = card_with("decision", verdict=r.Verdict.INCOMPARABLE, sentence=broken, rules=(rule,))
    assert "/home/asha" not in card
    assert "(INCOMPARABLE): `policy` incomparable." in card


def test_no_value_of_the_datas_own_columns_is_published() -> None:
    spoken = r.SliceScores(column="speaker", value="Asha Cali", rows=12, accuracy=None)
    short = r.SliceScores(column="length", value="short", rows=52, accuracy=None)
    card = card_with("evaluation", slices=(short, spoken))
    assert "Asha" not in card and "speaker" not in card
    assert "| length | short |" in card
    assert "| slice |" not in card_with("evaluation", slices=(spoken,))


def test_labels_without_test_rows_are_not_measured() -> None:
    run = full_run()
    assert run.evaluation
    first, *others = run.evaluation.test.per_class
    absent = first.model_copy(update={"support": 0, "f1": 0.0})
    test = run.evaluation.test.model_copy(update={"per_class": (absent, *others)})
    card = card_with("evaluation", test=test)
    assert f"not measured: {first.label}." in card and "on 0 test rows" not in card
    none = [one.model_copy(update={"support": 0, "f1": 0.0}) for one in test.per_class]
    card = card_with("evaluation", test=test.model_copy(update={"per_class": tuple(none)}))
    assert f"not measured: {', '.join(one.label for one in none)}." in card
    assert "lowest F1" not in card


def test_a_model_with_ngrams_asks_for_consent_to_its_code() -> None:
    card, plain = render_model_card(full_run(), DATA, BASE_MODEL), card_of("encoder")
    for each in (card, plain):  # transformers takes no such default from a model
        assert "truncation=True" in python_blocks(each)[0]
    assert "trust_remote_code=True" in python_blocks(card)[0]
    assert "words and short phrases of the training texts" in card
    assert "trust_remote_code" not in plain and "short phrases" not in plain


@pytest.mark.parametrize(
    ("chosen", "parts", "has_base"),
    [
        ("ngrams", "It is a linear model on words and parts of words, trained on 323", False),
        ("frozen", f"It is a linear head on the frozen `{BASE_MODEL}`, trained on", True),
        (
            "encoder",
            f"It is a fine-tuned `{BASE_MODEL}`, trained on 241 labelled rows (train)",
            True,
        ),
        ("encoder+ngrams", "The encoder was fine-tuned on the train rows only.", True),
        ("encoder+ngrams", f"the weighted sum of a fine-tuned `{BASE_MODEL}` and a linear", True),
    ],
)
def test_the_parts_of_the_model_are_named(chosen: str, parts: str, has_base: bool) -> None:
    card = card_of(chosen)
    assert parts in card and (f"base_model: {BASE_MODEL}" in card) == has_base


def test_the_onnx_form_comes_with_code_that_runs_it() -> None:
    card = card_with("export", onnx=onnx_export(size_bytes=23_400_000))
    transformers, onnx = python_blocks(card)
    assert "onnxruntime" not in transformers and "OnnxClassifier" in onnx
    compile(onnx, "card", "exec")
    assert "23.4 MB" in card


@pytest.mark.parametrize("value", ["a\n---\nlicense: mit", "x: [", "'\"", "- yes", "**\u202e"])
def test_no_name_changes_the_head_or_the_structure(value: str) -> None:
    manifest = changed_run("manifest", name=value).manifest
    named = replace(changed_run("dataset", name=value), manifest=manifest)
    card = ModelCard(render_model_card(named, DATA, BASE_MODEL))
    assert card.data.license == "cc-by-4.0"
    assert card.text.count("\n# ") == 1
    assert list(card.data.to_dict()) == [*ModelCard(card_with("dataset")).data.to_dict()]


def test_no_string_of_a_record_breaks_a_table() -> None:
    bad = poisoned(full_run())
    assert bad.dataset
    splits = dict(zip(r.SPLITS, bad.dataset.splits.values(), strict=True))
    bad = replace(bad, dataset=bad.dataset.model_copy(update={"splits": splits}))
    text = render_model_card(bad, DATA, BASE_MODEL)
    assert visible(text) == text
    card = ModelCard(text).text
    assert uneven_rows(card) == []
    assert not {"html_block", "html_inline", "link_open", "s_open"} & set(kinds(card))
