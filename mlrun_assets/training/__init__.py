"""The candidate models: trained, compared, and the best one kept.

train.py        the stages: train the cheap candidates; fine-tune on the chosen backend, and choose
candidates.py   the candidates judged without the test split, the choice, the model of the run
frozen.py       the frozen encoder with a linear head in closed form
job.py          one training job as plain values, its files, its result; several seeds
fine_tuning.py  the trainer function: a job in, a model directory and a history out
trainer.py      the Trainer subclass: weighted loss, batches, several processes, clear errors
checkpoints.py  sealed checkpoints, the newest sound one, training time
progress.py     how far the training is; metrics log and history; TensorBoard and other trackers
processes.py    jobs in other processes: the backends `torchrun` and `ray`
"""
