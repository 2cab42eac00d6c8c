"""Files that are copied into a deployed model; they import nothing of this package.

ngram_scorer.py       scores of the n-gram model
ensemble_pipeline.py  the transformers pipeline of a model with n-grams
onnx_classifier.py    the ONNX reader, without torch
"""
