"""Files that are copied into a deployed model; they import nothing of this package.

ngram_scorer.py       scores of the n-gram model
ensemble_pipeline.py  the transformers pipeline of an ensemble
onnx_classifier.py    the ONNX reader, without torch
"""
