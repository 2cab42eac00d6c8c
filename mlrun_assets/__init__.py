"""One ML run for a low-resource language, from data to a deployment decision.

Imports go down this list, never up:

    cli/                 mlrun-assets: its commands
    definitions.py       the one dg.Definitions
    orchestration/       assets, checks, sensors, jobs: the only room that knows Dagster
    lifecycle/           an experiment opened, held, closed, promoted
    reporting/           records in, text and pictures out; decides nothing
    stages/              what each asset does, as plain functions that do not know each other
    trainer/             fine-tuning and prediction with transformers
    onnx_form/           the trained model as ONNX, served without torch
    encoders/            a model name becomes a model and a tokenizer
    ngrams/              linear models on n-grams: the baseline, and the encoder's partner
    metrics.py           scores of predictions
    statistics.py        intervals and tests
    calibration.py       how far probabilities can be believed
    experiment_store.py  experiments on the disk
    registry_file.py     Markdown files that others write to as well
    text/                orthography, keys and languages
    records/             what flows between the stages
    config/              ml_config.yaml: every setting and its default, once
    arrays.py            the types of numpy arrays
    files.py             files written whole or not at all
    machine.py           CPUs and memory that this process may use
    fresh_process.py     a model served by a process of its own, and what it answers
    errors.py            the tree of errors
"""
