"""Models that predict, and their exported forms.

predictor.py    a transformers classifier that predicts fast on a CPU
ngrams.py       the n-gram models: the baseline, and a part of other models
export.py       stage `exported_model`: the model and its tokenizer, as transformers and as ONNX
onnx_export.py  the graph written as ONNX
probe.py        a fresh process that loads a model directory and predicts with it
served/         files that are copied into a deployed model; they import nothing of this package
"""
