import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.config import Config, QualityConfig, json_schema, load_config, parse_config
from mlrun_assets.errors import ConfigError
from mlrun_assets_tests.examples import ROOT

MINIMAL = """\
data: {train_path: data/final/train.jsonl, val_path: data/final/val.jsonl, \
test_path: data/final/test.jsonl}
model: {name: xlm-roberta-base, num_labels: 3, max_length: 512}
training: {batch_size: 16, learning_rate: 2e-5, epochs: 5, seed: 42}
deployment: {auto_deploy: false, min_accuracy: 0.85, min_f1: 0.82}
"""


def parse(text: str) -> Config:
    return parse_config(text, "ml_config.yaml")


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value).splitlines()


def test_config_with_only_the_documented_keys_works_as_it_is() -> None:
    config = parse(MINIMAL)
    assert config.model.name == "xlm-roberta-base"
    assert config.model.num_labels == 3
    assert config.training.learning_rate == pytest.approx(2e-5)
    assert config.training.epochs == 5
    assert config.deployment.min_f1 == pytest.approx(0.82)
    assert config.training.label_smoothing == "auto"


def test_exemptions_name_checks_columns_and_values() -> None:
    config = parse("data: {quality: {exempt: {language: {source: [wire, 2021]}}}}")
    assert config.data.quality.exempt == {"language": {"source": ("wire", 2021)}}
    assert config.data.extra_columns == ("source",)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("data: {quality: {exempt: {langage: {a: [b]}}}}", "exempt.langage", "should be"),
        ("data: {quality: {exempt: {pii: {a: wire}}}}", "exempt.pii.a", "should be a list"),
        ("data: {quality: {exempt: {schema: {a: [b]}}}}", "exempt.schema", "have no columns"),
        ("data: {language: Somali}", "data.language", "should match pattern"),
        ("data: {language: xyz}", "data.language", "ISO 639"),
        ("data: {quality: {language_detector: lingua}}", "language_detector", "'py3langid'"),
    ],
)
def test_mistakes_about_languages_and_exemptions(text: str, place: str, message: str) -> None:
    first = mistakes(text)[1]
    assert f"{place}: " in first
    assert message in first


def test_shipped_config_has_the_default_values() -> None:
    shipped = parse((ROOT / "ml_config.yaml").read_text(encoding="utf-8"))
    defaults = Config()
    assert shipped.model_copy(update={"model": defaults.model}) == defaults
    assert shipped.model.name == defaults.model.name
    assert shipped.model.max_length == defaults.model.max_length


def test_every_key_has_a_description() -> None:
    definitions = json_schema()["$defs"]
    undescribed = [
        f"{section}.{key}"
        for section, model in definitions.items()
        for key, value in model["properties"].items()
        if "description" not in value and "$ref" not in value
    ]
    assert undescribed == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "training:\n", "data: {}\n"])
def test_missing_sections_take_their_defaults(text: str) -> None:
    assert parse(text) == Config()


def test_no_file_means_all_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_config()
    assert loaded.settings == Config()
    assert loaded.file is None
    assert loaded.experiments_dir == tmp_path / "experiments"


def test_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("training: {seed: 7}\n", encoding="utf-8")
    monkeypatch.setenv("MLRUN_CONFIG", str(file))
    assert load_config().settings.training.seed == 7
    monkeypatch.setenv("MLRUN_CONFIG", str(tmp_path / "absent.yaml"))
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such config file; create it"):
        load_config()


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "c.yaml").write_text("reports: {dir: ../r}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    loaded = load_config("project/c.yaml")
    assert loaded.reports_dir == tmp_path / "r"
    assert loaded.production_dir == tmp_path / "project" / "production"
    assert loaded.path("/abs/x") == Path("/abs/x")


def test_all_mistakes_at_once_each_with_its_line() -> None:
    message = mistakes(
        "data:\n"
        "  train_pth: x\n"
        "  text_columns: [1]\n"
        "model:\n"
        "  num_labels: three\n"
        "  max_length: true\n"
        "training:\n"
        "  learning_rate: fast\n"
        "  epochs: 0\n"
        "  strategy: x\n"
        "deployment:\n"
        "  min_f1: 2\n"
        "  min_f1: 1\n"
        "deploymnt: 3\n"
    )
    assert message == [
        "ml_config.yaml: 9 mistakes:",
        "  line 2: data.train_pth: unknown key; did you mean `train_path`?",
        "  line 3: data.text_columns.0: should be text; put it in quotes",
        "  line 5: model.num_labels: should be a valid integer",
        "  line 6: model.max_length: should be a valid integer",
        "  line 8: training.learning_rate: should be a valid number or should be 'auto'",
        "  line 9: training.epochs: should be greater than or equal to 1 or should be 'auto'",
        "  line 10: training.strategy: unknown key; known here: batch_size, learning_rate, epochs, "
        "seed, seeds, warmup_fraction, weight_decay, layerwise_decay, label_smoothing, "
        "class_weights, early_stopping_patience, pretraining_epochs, bf16, freeze, reuse, "
        "report_to, backend, num_workers, ray_address",
        "  line 12: deployment.min_f1: is repeated on line 13; keep one of them",
        "  line 14: deploymnt: unknown key; did you mean `deployment`?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: {labels: [a, b]}\nmodel: {num_labels: 3}\n", "data.labels lists 2"),
        ("data: {labels: [a, a]}\n", "lists a label twice"),
        ("data: {train_path: a.jsonl, test_path: ./a.jsonl}\n", "same file as data.train_path"),
        ("data: {train_path: [b.jsonl, a.jsonl], val_path: a.jsonl}\n", "same file as data.train"),
        ("data: {train_path: [a.jsonl, a.jsonl]}\n", "lists a file twice"),
        ("data: {train_path: []}\n", "at least 1 item"),
        ("data: {quality: {skip: [shema]}}\n", "should be 'schema', 'splits_nonempty'"),
        (
            "data:\n  labels:\n  - a\n  - null\n",
            "line 4: data.labels.1: should be text; put it in quotes",
        ),
        ("training: {seed: -1}\n", "greater than or equal to 0"),
        ("training:\n  epochs: 3\n  seeds: [1, 2, 1]\n", "line 3: training.seeds: lists a seed"),
        ("training:\n  seeds: []\n", "line 2: training.seeds: should have at least 1 item"),
        ("training:\n  seeds:\n  - 13\n  - -1\n", "line 4: training.seeds.1: should be greater"),
        ("training: {seeds: 13}\n", "training.seeds: should be a list"),
        ("training: {seeds: [true]}\n", "training.seeds.0: should be a valid integer"),
        ("training: {warmup_fraction: 1}\n", "should be less than 1 or should be 'auto'"),
        ("training: {batch_size: 0}\n", "greater than or equal to 1 or should be 'auto'"),
        ("training: {learning_rate: 0}\n", "should be greater than 0 or should be 'auto'"),
        ("training: {layerwise_decay: 0}\n", "should be greater than 0 or should be 'auto'"),
        ("training: {freeze: -1}\n", "greater than or equal to 0"),
        ("training: {freeze: all}\n", "'embeddings' or 'encoder' or should be a valid integer"),
        ("training: {freeze: true}\n", "or should be a valid integer"),
        ("training: {reuse: 1}\n", "should be true or false"),
        ("training: {learning_rate: .nan}\n", "training.learning_rate: should be"),
        ("training: {report_to: mlflow}\n", "should be a list"),
        ("training: {num_workers: 2}\n", "set backend to torchrun or ray"),
        ("training: {backend: torchrun, num_workers: 0}\n", "greater than or equal to 1"),
        ("training: {backend: torchrun, ray_address: 'a:1'}\n", "set ray, or remove it"),
        ("training: {backend: ray, ray_address: 'ray://a'}\n", "should match pattern"),
        (
            "training: {backend: ray, num_workers: 3, batch_size: 16}\n",
            "not a multiple of training.num_workers",
        ),
        ("training: {pretraining_epochs: 1, batch_size: 1}\n", "compares the texts of a batch"),
        ("training: {backend: spark}\n", "should be 'inline', 'torchrun' or 'ray'"),
        ("[1, 2]\n", "is a list"),
        ("just text\n", "is a single value; write sections"),
        ("data: {labels: [a]}\n", "should have at least 2 items"),
        ("a: b: c\n", "not YAML"),
        ("data: {train_path: 1\n", "not YAML"),
        ("data: !!python/object:os.system {}\n", "line 1: data: has the tag"),
        ("1: 2\n", "unknown key"),
    ],
)
def test_one_clear_message(text: str, expected: str) -> None:
    assert expected in "\n".join(mistakes(text))


def test_contradictions_are_reported_with_other_mistakes() -> None:
    message = "\n".join(
        mistakes(
            "data: {labels: [a, b], train_path: x.jsonl, test_path: x.jsonl}\n"
            "model: {num_labels: 3}\n"
            "training: {epochs: x}\n"
            "deploymnt: {}\n"
        )
    )
    assert "4 mistakes" in message
    for part in ("data.labels lists 2", "same file", "training.epochs", "`deployment`"):
        assert part in message


@pytest.mark.parametrize("name", ["length", "truncated", "code-switched", "code_switched"])
def test_no_column_takes_the_name_of_a_slice_that_every_run_has(name: str) -> None:
    message = "\n".join(mistakes(f"data: {{slice_columns: [source, {name}]}}\n"))
    assert f"data.slice_columns: `{name}` is the name of a built-in slice" in message


def test_labels_may_be_integers() -> None:
    assert parse("data: {labels: [0, 1, 2]}\n").data.labels == ("0", "1", "2")


def test_seeds_and_layers_to_freeze_are_read() -> None:
    training = parse(
        "training: {seed: 1, seeds: [13, 42], freeze: 4, learning_rate: 2e-5}"
    ).training
    assert (training.seed, training.seeds, training.freeze) == (1, (13, 42), 4)
    assert training.learning_rate == pytest.approx(2e-5)


def test_labels_are_read_as_they_are_written() -> None:
    written = "yes, no, off, true, 010, 1.0, 1e3, 1_000, 2024-01-01"
    assert parse(f"data: {{labels: [{written}]}}\n").data.labels == tuple(written.split(", "))


def test_language_no_is_norwegian() -> None:
    assert parse("data: {language: no}\n").data.language == "no"


def test_off_is_a_word() -> None:
    deployment = parse("deployment: {policy: off, beats_baseline: off}\n").deployment
    assert (deployment.policy, deployment.beats_baseline) == ("off", "off")


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "Yes", "OFF"])
def test_a_word_for_a_flag_is_refused_with_its_line(word: str) -> None:
    found = mistakes(f"deployment:\n  auto_deploy: {word}\ntraining:\n  bf16: {word}\n")
    assert found[0] == "ml_config.yaml: 2 mistakes:"
    assert found[1].startswith("  line 2: deployment.auto_deploy: should be true or false")
    assert found[2].startswith("  line 4: training.bf16: should be true or false")


@pytest.mark.parametrize("number", ["2e-5", "2E-5", "2.0e-05", "0.00002", ".00002"])
def test_every_form_of_a_number(number: str) -> None:
    training = parse(f"training: {{learning_rate: {number}}}\n").training
    assert training.learning_rate == pytest.approx(2e-5)


def test_a_file_that_says_yaml_1_1_is_refused() -> None:
    assert "YAML 1.1" in mistakes("%YAML 1.1\n---\ndeployment: {policy: off}\n")[0]
    assert parse("%YAML 1.2\n---\ndeployment: {policy: off}\n").deployment.policy == "off"


def test_all_repeated_keys_are_reported() -> None:
    assert mistakes("training: {seed: 1, seed: 2}\nmodel:\n  name: a\n\n  name: b\n") == [
        "ml_config.yaml: 2 mistakes:",
        "  line 1: training.seed: is repeated on line 1; keep one of them",
        "  line 3: model.name: is repeated on line 5; keep one of them",
    ]


def test_anchors_and_merge_keys() -> None:
    config = parse(
        "data: {train_path: &file a.jsonl, test_path: b.jsonl, unlabelled_path: *file}\n"
        "training: {<<: [{seed: 1, epochs: 2}, {seed: 2, num_workers: 1}], seed: 3}\n"
    )
    assert config.data.unlabelled_path == "a.jsonl"
    assert (config.training.seed, config.training.epochs) == (3, 2)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("data: &a {name: *a}\n", "line 1: data.name:"),
        ("model: {}\ndata:\n  name: !!int x\n", "line 3: data.name:"),
        ("training: &t {seed: 3}\nmodel:\n  <<: *t\n", "line 1: model.seed:"),
        ("training: {<<: 3}\n", "line 1: not YAML"),
        ("data: {? [1, 2] : 3}\n", "line 1: data:"),
        ("? [1, 2]\n: 3\n", "the top level: has a key that is not text on line 1"),
        ("data:\n  labels: [!foo x, b]\n", "line 2: data.labels.0: has the tag !foo"),
        ("data: {}\n---\nmodel: {}\n", "line 2: not YAML"),
        ("data:\n\tname: x\n", "line 2: not YAML"),
        ("[" * 5000, "not YAML"),
    ],
)
def test_odd_yaml_is_one_error(text: str, place: str) -> None:
    assert place in "\n".join(mistakes(text))


ORDERED = [
    (name, name.replace("_warns", "_blocks"))
    for name in QualityConfig.model_fields
    if name.endswith("_warns")
] + [("wanted_detectable_difference", "max_detectable_difference")]


def test_every_limit_that_blocks_has_one_that_warns() -> None:
    blocking = {name for name in QualityConfig.model_fields if name.endswith("_blocks")}
    assert blocking == {high for _, high in ORDERED[:-1]}
    assert len(blocking) == 4


@pytest.mark.parametrize(("low", "high"), ORDERED)
def test_limits_out_of_order_are_a_mistake(low: str, high: str) -> None:
    lines = f"data:\n  quality:\n    {low}: 0.9\n    {high}: 0.8\n"
    found = mistakes(lines)
    assert len(found) == 2
    assert found[1].startswith(f"  line 4: data.quality.{high}: ")
    assert f"{low} must not be above {high}" in found[1]
    assert mistakes(lines.replace(f"    {high}: 0.8\n", ""))[1].startswith("  line 3: ")
    equal = parse(lines.replace("0.9", "0.8")).data.quality
    assert getattr(equal, low) == getattr(equal, high) == pytest.approx(0.8)


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().training.seed = 1  # type: ignore[misc]


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.sampled_from(
    ["no", "off", "null", "~", "true", "1", "010", "1e3", "2024-01-01", "=", "<<", " a", "#", "-"]
)
shares = st.floats(0, 1)


@given(
    st.lists(words, min_size=2, max_size=5, unique=True),
    st.dictionaries(words, st.lists(words | st.integers(), max_size=3), max_size=2),
    st.tuples(words, words),
    shares,
    st.floats(0.5, exclude_min=True, allow_nan=False),
)
def test_a_frozen_config_reads_back_as_the_same_config(
    labels: list[str],
    exempt: dict[str, list[str | int]],
    names: tuple[str, str],
    share: float,
    limit: float,
) -> None:
    quality = {"exempt": {"pii": exempt}, "max_unseen_words": share, "imbalance_ratio": 1 + limit}
    config = Config.model_validate(
        {
            "data": {"labels": labels, "name": names[0], "quality": quality},
            "model": {"name": names[1]},
            "training": {"weight_decay": share},
            "deployment": {"max_size_mb": limit},
        }
    )
    assert parse(config.to_yaml()) == config


@pytest.mark.parametrize("kind", ["directory", "bytes"])
def test_unreadable_files(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "c.yaml"
    if kind == "directory":
        file.mkdir()
    else:
        file.write_bytes(b"data: \xff\xfe\n")
    expected = "is a directory" if kind == "directory" else "not UTF-8"
    with pytest.raises(ConfigError, match=expected):
        load_config(file)


keys = st.sampled_from(["data", "model", "training", "seed", "name", "x", "1", "labels"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(keys, values, max_size=4))
def test_any_yaml_gives_a_config_or_one_config_error(data: dict[str, object]) -> None:
    try:
        parse(json.dumps(data))
    except ConfigError as error:
        assert str(error).startswith("ml_config.yaml: ")


def test_every_key_has_a_valid_example_that_is_not_its_default() -> None:
    for model in (QualityConfig, *(type(section) for _, section in Config())):
        for name, field in model.model_fields.items():
            if name != "quality":
                (example,) = field.examples or ()
                value = getattr(model.model_validate({name: example}), name)
                assert value != field.default, name
