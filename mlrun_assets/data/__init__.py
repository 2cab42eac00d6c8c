"""Rows, from file to validated split.

sources.py     paths, patterns and URLs to files
content.py     a file opened: compression, encoding
formats.py     JSON Lines, CSV, TSV and Parquet parsed into rows
rows.py        columns mapped to text, label, id and group
reading.py     a split read in normal form; bad rows quarantined with file and line
unlabelled.py  rows without labels, also from a pipe
validation.py  the stage: read, normalise, check, profile, write splits and quarantine
text.py        orthography, languages, and the keys by which texts are equal
checks/        the data-quality checks
"""
