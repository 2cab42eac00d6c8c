"""The trained model as ONNX: what serves where torch is not installed.

    directory.py   what lies in ``onnx/``: model, tokenizer, settings, reader, n-grams
    writing.py     the classifier as an ONNX graph, in float32
    int8.py        the same graph with weights of one byte
    classifier.py  labels for texts with onnxruntime alone; copied into ``onnx/``
    probe.py       a fresh process without torch that serves such a directory and answers

`writing`, `int8` and `classifier` import torch, onnx and onnxruntime at their top: import them
inside a function.
"""
