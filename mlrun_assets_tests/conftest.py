"""A tiny encoder and small projects, built here: no network, no download."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "sample"
SHARED = Path(os.environ.get("MLRUN_SHARED", ROOT.parent / "shared"))

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

# A busy machine is no reason to fail, and no run draws examples that nobody has seen before. New
# ones are looked for with --hypothesis-profile=new_examples.
settings.register_profile(
    "new_examples", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("same_examples", settings.get_profile("new_examples"), derandomize=True)
settings.load_profile("same_examples")


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no config, experiment or history that the person running them has set."""
    for name in (
        "MLRUN_CONFIG",
        "MLRUN_EXPERIMENT",
        "MLRUN_TERMINAL_COLUMNS",
        "DAGSTER_HOME",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)


def sample_rows(split: str) -> list[dict[str, str]]:
    lines = (SAMPLE / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of published corpora beside the project; tests that need it skip without."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"{SHARED / 'data'} is not there (MLRUN_SHARED names another place)")
    return SHARED / "data"


def settled(pieces: list[tuple[str, float]], special: int) -> list[tuple[str, float]]:
    """Trained Unigram pieces in an order and with scores that are the same each time.

    The trainer goes through a hash table: sums differ in their last digits from process to process,
    letters that it must keep are numbered as they come, each 0.0001 behind the one before, and what
    is equally likely changes places. That is other ids for the same texts, and another model.
    """
    rounded = [(piece, round(score, 2)) for piece, score in pieces[special:]]
    return [*pieces[:special], *sorted(rounded, key=lambda each: (-each[1], each[0]))]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two narrow layers with a Unigram tokenizer, as a plain transformers directory."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("encoder") / "tiny"
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        [row["text"] for row in sample_rows("train")],
        trainers.UnigramTrainer(
            vocab_size=600,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    trained = [tuple(each) for each in json.loads(tokenizer.to_str())["model"]["vocab"]]
    tokenizer.model = models.Unigram(settled(trained, special=4), unk_id=3)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=64,
    ).save_pretrained(str(directory))
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            pad_token_id=1,
            # At 0.02, the default, the first token's state hardly depends on the others in so
            # narrow a model: it would say one label to all texts, whatever it is taught.
            initializer_range=0.2,
        )
    ).save_pretrained(str(directory))
    return directory


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


MakeProject = Callable[..., Path]


@pytest.fixture
def make_project(tmp_path: Path, tiny_encoder: Path) -> MakeProject:
    """Makes a directory with a config and a part of the sample; returns the config file."""

    def make(rows: int = 60, **sections: dict[str, Any]) -> Path:
        generator = random.Random(0)
        for split, count in (("train", rows), ("val", rows // 2), ("test", rows // 2)):
            write_rows(
                tmp_path / "data" / f"{split}.jsonl",
                generator.sample(sample_rows(split), min(count, len(sample_rows(split)))),
            )
        config: dict[str, dict[str, Any]] = {
            "data": {f"{split}_path": f"data/{split}.jsonl" for split in ("train", "val", "test")},
            "model": {"name": str(tiny_encoder), "num_labels": 3, "max_length": 32},
            "training": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "bf16": False},
            "deployment": {
                "min_accuracy": 0.0,
                "min_f1": 0.0,
                "beats_baseline": "off",
                "onnx": False,  # it takes seconds; one run has it
            },
        }
        for name, section in sections.items():
            config.setdefault(name, {}).update(section)
        file = tmp_path / "ml_config.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return file

    return make


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Dagster instance of its own for one test."""
    home = tmp_path / ".dagster"
    home.mkdir()
    shutil.copy(ROOT / ".dagster" / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home
