"""The tokenizer of a deployed model: it normalises texts, and it knows the model's limit.

`tokenizers` can run the steps of `mlrun_assets.data.text.normalise`. They are written into the
tokenizer file, so a text gets the same token ids from everything that reads this file
(transformers, the ONNX reader), in the normal form or not.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun_assets.data.text import LETTER, LOOK_ALIKES, REPLACED, Step
from mlrun_assets.files import write_atomically

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer


def normaliser(steps: frozenset[Step]) -> Normalizer:
    """The ``steps`` of `normalise` for `tokenizers`.

    One difference remains: `tokenizers` has older tables of Unicode, and does not sort 98 combining
    marks that came after them (from Unicode 10 on) among other marks.
    """
    from tokenizers import Regex, normalizers

    letter, space = characters(LETTER), characters(r"\s")
    parts: list[Normalizer] = [
        normalizers.Replace(*replaced) for step, replaced in REPLACED.items() if step in steps
    ]
    if Step.NFC in steps:
        parts.append(normalizers.NFC())
    if Step.APOSTROPHE in steps:
        between = Regex(f"(?<={letter})[{LOOK_ALIKES}](?={letter})")
        parts.append(normalizers.Replace(between, "'"))
    if Step.WHITE_SPACE in steps:
        parts += [normalizers.Replace(Regex(f"{space}+"), " "), normalizers.Strip()]
    return normalizers.Sequence(parts)


@cache
def characters(pattern: str) -> str:
    r"""A class of all characters that ``pattern`` matches: ``\w`` and ``\s`` mean others there."""
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    runs = (match.group() for match in re.finditer(f"(?:{pattern})+", every))
    ranges = (rf"\x{{{ord(run[0]):x}}}-\x{{{ord(run[-1]):x}}}" for run in runs)
    return f"[{''.join(ranges)}]"


def deploy_tokenizer(model_dir: Path, steps: frozenset[Step], max_length: int) -> None:
    """Make the model in ``model_dir`` normalise texts as its training data was; change its files.

    Also sets the limit at which ``truncation=True`` cuts a text, and for an ensemble the normal
    form of the n-gram model. Texts in normal form keep their token ids, except the space beside a
    special token that is written out in a text, such as ``</s>``, with byte-level BPE.

    Raises:
        OSError: the disk is full.
    """
    from tokenizers import Tokenizer, models, normalizers
    from transformers import AutoTokenizer

    from mlrun_assets.encoders.trimming import plain_tokenizer
    from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR

    tokenizer = AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True)
    backend, ours = tokenizer.backend_tokenizer, normaliser(steps)
    own = backend.normalizer
    backend.normalizer = normalizers.Sequence([ours, own]) if own else ours
    tokenizer.model_max_length = max_length
    # A class of a family would build its own normalizer again.
    plain_tokenizer(backend, tokenizer).save_pretrained(str(model_dir))
    file = model_dir / NGRAMS_DIR / "model.json"
    if file.is_file():
        carrier = Tokenizer(models.WordLevel({}, unk_token=""))
        carrier.normalizer = ours
        settings = json.loads(file.read_text(encoding="utf-8"))
        settings["normaliser"] = json.loads(carrier.to_str())
        write_atomically(file, json.dumps(settings, ensure_ascii=False))
