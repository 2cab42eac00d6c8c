"""The life of an experiment: opened, held while a process works on it, closed whatever happens.

opening.py    a new experiment, and the sweep of those that nobody holds any more
holding.py    who works on an experiment: a lock that the system releases when a process dies
stages.py     one stage of it: its time, its record, its end
resuming.py   an experiment taken up again: what stands in it, and what is left to run
closing.py    registry line, tech debt and report, for every way in which a run can end
findings.py   what a run found that someone should mend
order.py      the graph as a table: the stages, what each reads, its record
describing.py the model card of an experiment
comparing.py  two models side by side
publishing.py a model given away
promoting.py  an experiment's model to production, and back
telling.py    what is told of that, once it is done
predicting.py the model in production asked about rows without labels
mirroring.py  runs and the registered model, mirrored to MLflow
mirrored.py   what of a run goes there
"""
