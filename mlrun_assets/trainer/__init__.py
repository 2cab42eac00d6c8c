"""Fine-tuning: transformers' Trainer, set up for a small data set and a slow machine.

    circumstances.py  what a recipe must fit: the machine and the encoder
    job.py            what is to be trained, on what, to where
    fine_tuning.py    the one trainer function
    data_parallel.py  several processes train as one
    handover.py       the files by which a job goes to other processes and its result comes back
    launching.py      those processes, started and stopped
    worker.py         one of them
    torchrun.py       several of this machine
    ray_train.py      those of a Ray cluster
    loss.py           the loss with label weights, and the halt on one that is not finite
    optimizer.py      AdamW with a learning rate for each layer
    batches.py        memory-mapped splits, tokens and padding
    checkpoints.py    sealed checkpoints, and the newest sound one
    callbacks.py      progress, metrics.jsonl, the sealing of checkpoints
    prediction.py     probabilities for texts, in batches of like length
    probe.py          a fresh process that loads a model directory and answers

``batches``, ``callbacks``, ``data_parallel``, ``fine_tuning``, ``loss``, ``optimizer`` and
``prediction`` import torch or transformers at their top: import them inside the function that needs
them.
"""
