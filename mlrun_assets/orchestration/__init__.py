"""Dagster: the asset graph and everything around it.

assets.py             one thin asset per stage, in the order of the graph
checks.py             asset checks: their specs and their results
metadata.py           the metadata that the UI shows for each asset
resources.py          the `ml_run` resource, run tags, the plain logger
automation.py         jobs to launch, promote and roll back; the sensor for new data
dagster_internals.py  everything that is private to Dagster, with the reason
"""
