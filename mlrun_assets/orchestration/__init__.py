"""The asset graph: the only room that knows Dagster.

assets.py       one thin asset a stage, in the order of the graph
checks.py       records → asset checks
metadata.py     records → what the UI shows
resources.py    the config and the experiment that a run works on
backends.py     what trains: this process, several of this machine, or a Ray cluster
jobs.py         the run as a job, and production moved by a person
sensors.py      runs that new data starts
console.py      a run's log for people who sit at a terminal
compute_logs.py what assets print, kept and shown
dagster_internals.py what is used of Dagster beyond its public API
"""
