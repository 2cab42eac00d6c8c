"""How good the trained model is.

evaluation.py   the stage: predict the test split with every model, score, compare
comparison.py   the challenger beside the baseline and production, on the same rows
slices.py       labels and slices of the test split
calibration.py  how far probabilities can be trusted: temperature, ECE, Brier
label_next.py   the rows that are worth labelling next
"""
