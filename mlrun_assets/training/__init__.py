"""Fine-tuning.

train.py        the stage: train each seed on the chosen backend, keep the best on val
job.py          one training job as plain values, its files, its result; several seeds
fine_tuning.py  the trainer function: a job in, a model directory and a history out
trainer.py      the Trainer subclass: weighted loss, batches, several processes, clear errors
layers.py       layer-wise learning rates and frozen layers
checkpoints.py  sealed checkpoints, the newest sound one, training time
progress.py     progress bar or lines; metrics log and history; TensorBoard and other trackers
processes.py    backend `torchrun`, and jobs that other processes run
ray_train.py    backend `ray`
"""
