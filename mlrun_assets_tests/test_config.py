import json
import os
import re
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.config import Config, QualityConfig, Section, load_config, parse_config
from mlrun_assets.errors import ConfigError
from mlrun_assets_tests.examples import ROOT


def parse(text: str) -> Config:
    return parse_config(text, "ml_config.yaml")


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value).splitlines()


def test_exemptions_name_checks_columns_and_values() -> None:
    config = parse("data: {quality: {exempt: {language: {source: [wire, 2021]}}}}")
    assert config.data.quality.exempt == {"language": {"source": ("wire", 2021)}}
    assert config.data.extra_columns == ("source",)


def test_shipped_config_has_the_default_values() -> None:
    shipped, defaults = parse((ROOT / "ml_config.yaml").read_text(encoding="utf-8")), Config()
    model = defaults.model.model_copy(update={"num_labels": shipped.model.num_labels})
    assert shipped == defaults.model_copy(update={"model": model})


@pytest.mark.parametrize("text", ["", "# nothing\n", "training:\n", "data: {}\n"])
def test_missing_sections_take_their_defaults(text: str) -> None:
    assert parse(text) == Config()


def test_variable_names_the_file_and_no_file_means_all_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_config()
    assert (loaded.settings, loaded.file) == (Config(), None)
    assert loaded.experiments_dir == tmp_path / "experiments"
    (tmp_path / "other.yaml").write_text("training: {seed: 7}\n", encoding="utf-8")
    monkeypatch.setenv("MLRUN_CONFIG", str(tmp_path / "other.yaml"))
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
        "model:\n"
        "  num_labels: three\n"
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
        "ml_config.yaml: 7 mistakes:",
        "  line 2: data.train_pth: unknown key; did you mean `train_path`?",
        "  line 4: model.num_labels: should be a valid integer",
        "  line 6: training.learning_rate: should be a valid number or should be 'auto'",
        "  line 7: training.epochs: should be greater than or equal to 1 or should be 'auto'",
        "  line 8: training.strategy: unknown key; known here: budget, batch_size, learning_rate, "
        "epochs, short_epochs, seed, seeds, warmup_fraction, weight_decay, layerwise_decay, "
        "label_smoothing, class_weights, bf16, freeze, reuse, report_to, backend, num_workers, "
        "ray_address",
        "  line 10: deployment.min_f1: is repeated on line 11; keep one of them",
        "  line 12: deploymnt: unknown key; did you mean `deployment`?",
    ]


def doubled(value: str) -> str:
    """Thirty values, each with two aliases of the one before: the last has a billion."""
    lines = ["v0: &v0 {x: 1}"]
    lines += [f"v{n}: &v{n} {value.format(f'*v{n - 1}, *v{n - 1}')}" for n in range(1, 30)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: {quality: {exempt: {langage: {a: [b]}}}}", "quality.exempt.langage: should be"),
        ("data: {quality: {exempt: {pii: {a: wire}}}}", "exempt.pii.a: should be a list"),
        ("data: {quality: {exempt: {schema: {a: [b]}}}}", "quality.exempt.schema: rows that"),
        ("data: {quality: {skip: [shema]}}", "should be 'schema', 'splits_nonempty'"),
        ("data: {language: Somali}", "language: should look like `swa` (Language of the texts: a"),
        ("data: {label: topic}", "data.label: unknown key; did you mean `label_column`?"),
        ("data: {path: x}", "did you mean `train_path` or `val_path` or `test_path`?"),
        ("langage: som", "langage: unknown key; did you mean `data.language`?"),
        ("training: {min_f1: 0.5}", "did you mean `deployment.min_f1`?"),
        ("data: {language: xyz}", "data.language: should be a language code of ISO 639"),
        ("data: {labels: [a, b]}\nmodel: {num_labels: 3}", "data.labels lists 2"),
        ("data: {labels: [a, a]}", "lists a label twice"),
        ("data:\n  labels:\n  - a\n  - null", "line 4: data.labels.1: should be text; put it"),
        ("data: {train_path: a.jsonl, test_path: ./a.jsonl}", "same file as data.train_path"),
        ("data: {train_path: [b.jsonl, a.jsonl], val_path: a.jsonl}", "same file as data.train"),
        ("data: {train_path: [a.jsonl, a.jsonl]}", "lists a file twice"),
        ("data: {train_path: []}", "at least 1 item"),
        ("data:\n  text_columns:\n  - text\n  - label", "line 4: data.text_columns.1: `label` is"),
        ("data: {text_columns: [a, b], label_column: b}", "text_columns.1: `b` is data.label_col"),
        ("data: {text_columns: [key], id_column: key}", "columns.0: `key` is data.id_column"),
        ("data: {text_columns: [text, id]}", "text_columns.1: `id` is data.id_column"),
        ("data: {text_columns: [text, who], group_column: who}", "`who` is data.group_column"),
        ("data: {text_columns: [text, text]}", "text_columns: lists a column twice"),
        ("data: {group_column: label}", "group_column: `label` is also data.label_column"),
        ("data: {id_column: label}", "id_column: `label` is also data.label_column"),
        ("data: {slice_columns: [source, code-switched]}", "is the name of a built-in slice"),
        ("data: {slice_columns: [code_switched]}", "`code_switched` is the name of a built-in"),
        ("training:\n  epochs: 3\n  seeds: [1, 2, 1]", "line 3: training.seeds: lists a seed"),
        ("model: {candidates: [ngrams, ngrams]}", "model.candidates: lists a candidate twice"),
        ("model:\n  candidates: []", "line 2: model.candidates: should have at least 1 item"),
        (
            "model:\n  candidates: [helped+ngrams]",
            "line 2: model.candidates: has helped+ngrams, which needs helper rows: set "
            "data.auxiliary_path",
        ),
        ("model: {candidates: [bert]}", "model.candidates.0: should be 'ngrams', 'frozen', "),
        ("model: {candidates: ngrams}", "model.candidates: should be a list or should be 'auto'"),
        ("training: {budget: cheap}", "training.budget: should be 'fast', 'balanced' or 'best'"),
        ("training: {seeds: [true]}", "training.seeds.0: should be a valid integer"),
        ("training: {batch_size: 0}", "greater than or equal to 1 or should be 'auto'"),
        ("training: {freeze: all}", "'embeddings' or 'encoder' or should be a valid integer"),
        ("training: {reuse: 1}", "should be true or false"),
        ("training: {learning_rate: .nan}", "training.learning_rate: should be"),
        ("training: {num_workers: 2}", "set backend to torchrun or ray"),
        ("training: {backend: torchrun, ray_address: 'a:1'}", "set ray, or remove it"),
        ("training: {backend: ray, num_workers: 3, batch_size: 16}", "not a multiple of training."),
        ("[1, 2]", "is a list"),
        ("just text", "is a single value; write sections"),
        ("data: {train_path: 1", "not YAML"),
        ("data: !!python/object:os.system {}", "line 1: data: has the tag"),
        ("1: 2", "unknown key"),
        ("model: {}\ndata: &a {name: *a}", "line 2: a value contains itself"),
        ("data: {train_path: &a [*a]}", "line 1: a value contains itself"),
        ("data: &a\n  quality: {<<: *a}", "line 1: a value contains itself"),
        ("model: {}\ndata:\n  name: !!int x", "line 3: data.name:"),
        ("training: &t {seed: 3}\nmodel:\n  <<: *t", "line 1: model.seed:"),
        ("training: {<<: 3}", "line 1: not YAML"),
        ("data: {? [1, 2] : 3}", "line 1: data:"),
        ("? [1, 2]\n: 3", "the top level: has a key that is not text on line 1"),
        ("data:\n  labels: [!foo x, b]", "line 2: data.labels.0: has the tag !foo"),
        ("data: {}\n---\nmodel: {}", "line 2: not YAML"),
        ("%YAML 1.1\n---\ndata: {}", "YAML 1.1"),
        ("[" * 5000, "not YAML"),
        (doubled("[{}]"), "line 1: more than 50,000 values"),
        (doubled("{{x: 1, <<: [{}]}}"), "more than 50,000 values"),
        (doubled("{{<<: [{}]}}"), "more than 50,000 values"),
        (f"data: {{labels: [{'a, ' * 60_000}]}}", "more than 50,000 values"),
    ],
)
def test_one_clear_message(text: str, expected: str) -> None:
    assert expected in "\n".join(mistakes(text))


@pytest.mark.parametrize(
    ("paths", "missing"),
    [
        ("train_path: a", ["val_path", "test_path"]),
        ("val_path: a", ["train_path", "test_path"]),
        ("train_path: a, test_path: b", ["val_path"]),
        ("train_path: data/sample/train.jsonl", ["val_path", "test_path"]),
        ("val_path: a, test_path: b, train_pth: c", ["train_pth", "train_path"]),
        ("train_path: a, test_path: b, val_path: []", ["val_path"]),
        ("unlabelled_path: a, predict_path: b", []),
    ],
)
def test_own_splits_are_never_mixed_with_the_sample(paths: str, missing: list[str]) -> None:
    text = f"# own data\ndata: {{{paths}}}\n"
    if not missing:
        assert parse(text).data.test_path == "data/sample/test.jsonl"
        return
    starts = [f"  line 2: data.{key}: " for key in missing]
    assert [line[: len(start)] for line, start in zip(mistakes(text)[1:], starts, strict=True)] == (
        starts
    )


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (Path.mkdir, "is a directory"),
        (lambda path: path.write_bytes(b"#" * 1_000_001), "larger than 1 MB"),
        (lambda path: path.write_bytes(b"\xff"), "not UTF-8 (byte 0)"),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    path = tmp_path / "config.yaml"
    make(path)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ") and why in str(error.value)


def test_contradictions_are_reported_with_other_mistakes() -> None:
    found = mistakes(
        "data: {labels: [a, b], train_path: x.jsonl, val_path: y.jsonl, test_path: x.jsonl}\n"
        "model: {num_labels: 3}\ntraining: {epochs: x}\ndeploymnt: {}\n"
    )
    for part in ("4 mistakes", "labels lists 2", "same file", "training.epochs", "`deployment`"):
        assert part in "\n".join(found)


WRITTEN = "yes, no, off, true, 010, 1.0, 1e3, 1_000, 2024-01-01"


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("data.labels", "[0, 1, 2]", ("0", "1", "2")),
        ("data.labels", f"[{WRITTEN}]", tuple(WRITTEN.split(", "))),
        ("data.language", "no", "no"),
        ("training.seeds", "[13, 42]", (13, 42)),
        ("training.freeze", "4", 4),
        ("deployment.policy", "off", "off"),
        ("training.learning_rate", "2e-5", 2e-5),
        ("training.learning_rate", "2.0E-05", 2e-5),
        ("training.learning_rate", ".00002", 2e-5),
    ],
)
def test_values_are_read_as_they_are_written(key: str, written: str, value: object) -> None:
    section, name = key.split(".")
    assert getattr(getattr(parse(f"{section}: {{{name}: {written}}}"), section), name) == value


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "Yes", "OFF"])
def test_a_word_for_a_flag_is_refused_with_its_line(word: str) -> None:
    found = mistakes(f"deployment:\n  auto_deploy: {word}\ntraining:\n  bf16: {word}\n")
    assert found[0] == "ml_config.yaml: 2 mistakes:"
    assert found[1].startswith("  line 2: deployment.auto_deploy: should be true or false")
    assert found[2].startswith("  line 4: training.bf16: should be true or false")


def test_all_repeated_keys_are_reported() -> None:
    assert mistakes("training: {seed: 1, seed: 2}\nmodel:\n  name: a\n\n  name: b\n") == [
        "ml_config.yaml: 2 mistakes:",
        "  line 1: training.seed: is repeated on line 1; keep one of them",
        "  line 3: model.name: is repeated on line 5; keep one of them",
    ]


def test_anchors_and_merge_keys() -> None:
    config = parse(
        "data: {train_path: &file a.jsonl, val_path: b.jsonl, test_path: c.jsonl,\n"
        "  unlabelled_path: *file}\n"
        "training: {<<: [{seed: 1, epochs: 2}, {seed: 2, num_workers: 1}], seed: 3}\n"
    )
    assert config.data.unlabelled_path == "a.jsonl"
    assert (config.training.seed, config.training.epochs) == (3, 2)


ORDERED = [
    (name, name.replace("_warns", "_blocks"))
    for name in QualityConfig.model_fields
    if name.endswith("_warns")
] + [("wanted_detectable_difference", "max_detectable_difference")]


def test_every_limit_that_blocks_has_one_that_warns() -> None:
    blocking = {name for name in QualityConfig.model_fields if name.endswith("_blocks")}
    assert blocking == {high for _, high in ORDERED[:-1]}


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


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)
    (tmp_path / "c.yaml").write_bytes(b"data: \xff\xfe\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "c.yaml")


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
    sections = [type(each) for _, each in Config() if isinstance(each, Section)]
    for model in (QualityConfig, *sections):
        for name, field in model.model_fields.items():
            if name != "quality":
                (example,) = field.examples or ()
                value = getattr(model.model_validate({name: example}), name)
                assert value != field.default, name


def test_a_config_has_no_credentials_and_reveals_them_where_they_are_needed(tmp_path: Path) -> None:
    urls = ["http://h/a.csv?part=1", "http://h/a.csv?part=2", "http://me:x@h/a.csv"]
    (tmp_path / "c.yaml").write_text(
        json.dumps(
            {
                "data": {
                    "train_path": urls,
                    "val_path": "v.csv",
                    "test_path": "t.csv",
                    "labels": ["a:b@c", "http://u:p@h"],
                    "id_column": "i?k=v",
                },
                "model": {"name": "me:x@h/encoder", "revision": "https://x@h"},
            }
        )
    )
    loaded = load_config(tmp_path / "c.yaml")
    data, model = loaded.settings.data, loaded.settings.model
    assert data.train_path == ("http://h/a.csv?***", "http://h/a.csv?***#2", "http://***@h/a.csv")
    assert (data.labels, data.id_column) == (("a:b@c", "http://u:p@h"), "i?k=v")
    assert (model.name, model.revision) == ("***@h/encoder", "https://***@h")
    assert [loaded.reveal(path) for path in data.paths("train")] == urls
    assert parse(loaded.settings.to_yaml()) == loaded.settings
    assert "part=" not in repr(loaded) + loaded.model_dump_json()
    with pytest.raises(ConfigError, match=r"http://\*\*\*@other/a: its credentials are in no"):
        loaded.reveal("http://***@other/a")


@pytest.mark.parametrize("place", ["s3://KEY:SECRET@b/x", "http:/me:SECRET@h", "me:SECRET@h/x"])
def test_a_directory_is_no_url(place: str) -> None:
    text = f"reports: {{dir: '{place}'}}\nexperiments: {{dir: '{place}'}}"
    wrong = mistakes(f"{text}\ndeployment: {{production_dir: '{place}'}}")
    assert [line.split(":")[1] for line in wrong[1:]] == [
        " reports.dir", " experiments.dir", " deployment.production_dir",
    ]  # fmt: skip
    assert "SECRET" not in "".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "data: {http://me:SECRET@h/a.csv: 1}",
        "data: {train_path: !<http://me:SECRET@h> x}",
        "data: {train_path: *http://me:SECRET@h}",
        "http://me:SECRET@h/a.csv",
        "data: {train_path: http://me:SECRET@h/a.csv, val_path: http://me:SECRET@h/a.csv}",
        "data: {train_path: http://me:SECRET@h/a.csv, train_path: http://me:SECRET@h/a.csv}",
        "model: {num_labels: http://me:SECRET@h}",
    ],
)
def test_no_message_shows_a_credential(text: str) -> None:
    assert "SECRET" not in "".join(mistakes(text))


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("training.epochs=2", "training.epochs", 2),
        ("training.learning_rate=2e-5", "training.learning_rate", 2e-5),
        ("data.labels=[no, 2]", "data.labels", ("no", "2")),
        ("data.quality.exempt={language: {source: [wire]}}", "data.quality.exempt", None),
        ("data.name=a=b", "data.name", "a=b"),
    ],
)
def test_an_override_replaces_one_value_of_the_file(line: str, key: str, value: object) -> None:
    text = "data: {name: som}\ntraining: {epochs: 5, batch_size: 8}\n"
    config = parse_config(text, overrides=["", line])
    found = attrgetter(key)(config)
    assert found == value if value else found
    assert config.training.batch_size == 8


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("training.epoch=2", "--set training.epoch: unknown key; did you mean `epochs`?"),
        ("training.epochs=x", "training.epochs: should be a valid integer"),
        ("training.epochs", "--set training.epochs: write it as KEY=VALUE"),
        ("=2", "write it as KEY=VALUE"),
        ("offline.x=2", "write it as KEY=VALUE"),
        ("data.labels=[a", "the value is not YAML"),
        pytest.param("data.labels=" + "[" * 3000, "the value is not YAML", id="deep"),
    ],
)
def test_a_wrong_override_is_one_error_and_lines_of_the_file_stay(line: str, said: str) -> None:
    text = "offline: false\ntraining:\n  batch_size: x\n"
    with pytest.raises(ConfigError) as caught:
        parse_config(text, overrides=[line])
    assert said in str(caught.value)
    assert (
        "KEY=VALUE" in said or "YAML" in said or "line 3: training.batch_size" in str(caught.value)
    )


def test_an_override_that_contains_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="contains itself"):
        parse_config("", overrides=["data.labels=&x [*x]"])


@pytest.mark.parametrize(
    "lines",
    [
        ["training={budget: fast}", "training.epochs=2", "training.learning_rate=1e-5"],
        [r'data.labels=["\U0001F600", "no", "a\u2028b", "\x07"]', "data.name=null"],
        ["data.quality.exempt.language={source: [wire]}", "data.quality.exempt={}"],
        ["data.quality.exempt.language={source: [wire]}", "data.quality="],
    ],
)
def test_a_resumed_run_gets_the_values_of_its_overrides(tmp_path: Path, lines: list[str]) -> None:
    file = tmp_path / "ml_config.yaml"
    file.write_text("data: {name: som, quality: {min_words: 5}}\n", encoding="utf-8")
    started = load_config(file, lines)
    assert load_config(file, started.overrides).settings == started.settings


def test_an_override_fills_an_empty_section() -> None:
    assert parse_config("training:\n", overrides=["training.epochs=2"]).training.epochs == 2


def test_a_wrong_item_of_an_override_has_no_line_of_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config("data:\n  labels:\n    - a\n    - b\n", overrides=["data.labels=[[x], b]"])
    assert "\n  --set data.labels.0: should be text" in str(caught.value)


def test_overrides_come_from_the_environment_and_not_into_other_configs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLRUN_SET", "training.budget=fast\ntraining.seed=7")
    assert (load_config().settings.training.budget, load_config().settings.training.seed) == (
        "fast",
        7,
    )
    assert parse("").training.budget == "balanced"


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [
        ("{min_precision: 1.0}", "deployment.min_precision: is 1, which no number of rows can"),
        ("{min_coverage: 0.5}", "deployment.min_coverage: is set, but deployment.min_precision"),
    ],
)
def test_what_can_never_be_accepted(deployment: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        parse_config(f"deployment: {deployment}")
