"""A model name becomes a model and a tokenizer.

source.py        a model name resolved: embedded, a directory, or the Hub and its cache
directory.py     the files that an encoder directory must have
embedded.py      multilingual-e5-small from a package: its file read, a directory written
loading.py       config, tokenizer and classifier, mean pooling; what the config asks of it
trimming.py      an encoder with fewer word pieces: tokenizer and embeddings
vocabulary.py    a tokenizer as data, and which pieces a language needs

To add an encoder family: every model that transformers' AutoModelForSequenceClassification knows
can be loaded as it is. A family needs a change here only in these cases.

- Its position ids start behind the padding id: add it to `POSITIONS_BEHIND_PADDING` (loading.py).
- Its classifier can start from the mean of all tokens: add it to `POOLED_TYPES` (loading.py).
- Its head has another name: add it to `HEADS` (loading.py).
- Its tokenizer is of a new kind: add a subclass of `Vocabulary` (vocabulary.py) to `KINDS`
  (trimming.py).
- It comes in a package, not as a directory: add it to `EMBEDDED_ENCODERS` (embedded.py).

Then add the family to `TOKENIZERS` and `SETTINGS` in mlrun_assets_tests/encoders/tiny_encoders.py:
the tests of trimming and tokenization run for all families there.
"""
