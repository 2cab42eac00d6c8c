"""The `mlrun-assets` command.

Exit codes: 0 done (a rejected model is a result), 1 failed, 2 the config or the call is wrong,
3 a run blocked by the data, 130 cancelled. `check-data` exits 1 when the data blocks.

    __main__.py    the command group, and errors shown without a traceback
    options.py     options and notes that several commands share
    run.py         `run`, new or resumed
    data.py        `check-data` and `predict`: rows in, checks or labels out
    production.py  `status`, `promote`, `rollback`, `diff`, `push`, `schema`
"""
