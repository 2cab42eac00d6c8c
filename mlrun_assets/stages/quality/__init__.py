"""Data quality: what a dataset must be before anything is trained on it.

reading/       files → rows that parse, and the lines that don't
schema.py      rows → rows that hold what they must, with pandera
finding.py     what every check takes and gives
checks.py      the registry of checks, and those that only count
leakage.py     texts that stand nearly the same twice, or are known from another split
near_matches.py, shingles.py, containment.py  how that is found among a million rows
power.py       which differences the test split can show
label_noise.py, character_ngrams.py  labels that the other rows contradict
drift.py, shift.py  splits that differ, and data that changed since the run before
normalising.py rows as they came → rows as they are stored
detectors.py   texts → language codes
language.py    which rows are in another language, or mix two
content.py     too little text, too much, or what identifies a person
encoding.py    traces of a wrong encoding
exemptions.py  rows that a check leaves out
unlabelled.py  texts without labels: what pretraining may read of them
profile.py     sizes, lengths and labels of a split
"""
