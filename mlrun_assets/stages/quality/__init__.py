"""Data quality: what a dataset must be before anything is trained on it.

reading.py     files → rows that parse, and the lines that don't
schema.py      rows → rows that hold what they must, with pandera
checks.py      one function a check: splits → what it found
profile.py     sizes, lengths and labels of a split
"""
