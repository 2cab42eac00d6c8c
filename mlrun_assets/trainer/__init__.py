"""Fine-tuning: transformers' Trainer, set up for a small data set and a slow machine.

    circumstances.py  what a recipe must fit: the machine and the encoder
    job.py            what is to be trained, on what, to where
    seeds.py          several jobs that differ in the seed, and the best of them on val
    reuse.py          the checkpoint of an earlier experiment instead
    fine_tuning.py    the one trainer function
    starting_model.py the classifier that it starts from
    pretraining.py    the encoder adapted to texts without labels, before that
    contrast.py       the loss of the pretraining
    span_pairs.py     what it compares: two spans of a text
    depth.py          where in the encoder a parameter stands
    freezing.py       which parts are not trained
    cpu_training.py   attention and precision that suit a CPU
    data_parallel.py  several processes train as one
    handover.py       the files by which a job goes to other processes and its result comes back
    launching.py      those processes, started and stopped
    worker.py         one of them
    torchrun.py       several of this machine
    ray_train.py      those of a Ray cluster
    loss.py           the loss with label weights, and the halt on one that is not finite
    row_order.py      the order of the rows: the same for a seed and an epoch
    optimizer.py      AdamW with a learning rate for each layer
    batches.py        memory-mapped splits, tokens and padding
    checkpoints.py    sealed checkpoints, and the newest sound one
    callbacks.py      metrics.jsonl, the sealing of checkpoints
    training_time.py  the seconds of all attempts, which checkpoints keep
    progress.py       a bar on a terminal, a line every tenth of the steps elsewhere
    trackers.py       TensorBoard and what else a run reports to
    failures.py       not finite, no memory, no room on the disk: said in words
    partner.py        an n-gram model beside the trained encoder, served as one
    prediction.py     probabilities for texts, in batches of like length
    ids_read.py       the ids that a model reads of a text of any length
    probe.py          a fresh process that loads a model directory and answers

Those that work with tensors import torch or transformers at their top: import them inside the
function that needs them.
"""
