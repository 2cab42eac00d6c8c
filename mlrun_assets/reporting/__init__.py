"""The report of a run: records in, text and pictures out; this room decides nothing.

escaping.py      any string as Markdown that shows it and does nothing else
formats.py       numbers as the report writes them
tables.py        Markdown tables
*_tables.py      the tables of the report, by stage
markdown.py      the report, through templates/report.md.j2
datasheet.py     the datasheet of a dataset, through templates/datasheet.md.j2
model_card.py    the card of a model, through templates/model_card.md.j2
model_diff.py    what differs between two models
check_listing.py the checks of a dataset, for a terminal
html.py          the same report as one self-contained file
summaries.py     one sentence and one table a stage, for the UI
canvas.py        figures, fonts and colours
plots.py         the pictures, drawn by data_plots.py and score_plots.py
"""
