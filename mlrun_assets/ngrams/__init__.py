"""Linear models on words and character n-grams: the baseline, and a partner of the encoder.

    candidates         the linear models that are tried, and the choice among them on val
    linear             a fitted model as arrays in a directory
    ensemble           the weights of encoder and n-grams, fitted on val
    ngram_scorer       what a deployed directory needs to score texts; copied into it
    ensemble_pipeline  the pipeline that transformers finds there; copied into it

A model of n-grams trains in seconds and errs differently from an encoder.
"""
