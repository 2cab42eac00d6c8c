"""The data-quality checks. To add one, see `suite.py`.

suite.py            the list of all checks, and how they run
base.py             what a check gets and what it returns
content.py          lengths, encoding, personal data, truncation, tokenizer fit
language.py         language and code-switching
leakage.py          the checks near_duplicates and split_leakage
near_duplicates.py  pairs of similar texts by MinHash, for leakage.py
labels.py           rows whose label is probably wrong; the difference that test can show
drift.py            splits, or data versions, that differ
"""
