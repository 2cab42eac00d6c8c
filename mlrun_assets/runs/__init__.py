"""The life of a run, from opening an experiment to its last registry line.

opening.py  a new experiment: directory, report name, environment, what earlier runs found
stage.py    one stage: lock, clock, record, failure; and the stages left of a stopped run
closing.py  registry line, tech debt and report, however the run ends; the order of the graph
"""
