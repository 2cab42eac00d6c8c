"""How good the trained model is.

evaluation.py   the stage: predict the test split with every model, score, compare
comparison.py   the challenger beside another model: on all rows, by label and by slice
calibration.py  how far probabilities can be trusted: ECE, Brier, precision by coverage; the rows
                that are worth labelling next
"""
