"""Fine-tuning.

train.py        the stage: train each seed on the chosen backend, keep the best on val
job.py          one training job as plain values, its files, and its result
fine_tuning.py  the trainer function: a job in, a model directory and a history out
trainer.py      the Trainer subclass: class weights, batches, several processes, bad losses
layers.py       layer-wise learning rates and frozen layers
callbacks.py    history, sealed checkpoints, training time, the newest sound checkpoint
progress.py     progress bar or lines; TensorBoard, wandb and other trackers
pretraining.py  optional: contrastive pretraining of the encoder
processes.py    backend `torchrun`, and jobs that other processes do
ray_train.py    backend `ray`
"""
