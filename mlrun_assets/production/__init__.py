"""The deployed model.

versions.py       immutable model directories, and the history of moves
pointer.py        where production is moved: one pointer, under a lock, to a version that loads
compare.py        models side by side, with paired tests
prediction.py     label files and streams with the model in production
answers.py        rows in, labels and probabilities out; the words that moved a label
publishing.py     push a model to a directory or to the Hub
mlflow_mirror.py  optional: copy runs and production to MLflow
"""
