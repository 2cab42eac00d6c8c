"""Rows, from the file to the validated split.

sources.py     the files that paths, patterns and URLs name
content.py     a file opened: compression and encoding
formats.py     JSON and Parquet parsed into rows
tables.py      CSV and TSV parsed into rows: delimiter, quotes and joined lines
rows.py        columns mapped to text, label, id and group; labels that are indices of names
reading.py     a split read in normal form; quarantined rows with file and line
other_rows.py  helper rows, texts to label next, and rows to predict, also from a pipe
proposal.py    the columns and the language of a file that nobody has described
splitting.py   labelled rows divided into splits that pass the checks; folds of train and val
validation.py  the stage: read, normalise, check, profile and store the splits
text.py        normal form, key of equal texts, languages
checks/        the data-quality checks
"""
