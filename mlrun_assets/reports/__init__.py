"""Text and pictures from records; no decision is made here.

report.py        the report of a run as Markdown and as one HTML file
model_card.py    the model card, which is deployed with the model
data_section.py  the datasheet, tables about the data, the listing of checks
tables.py        tables about the run: prior runs, cost, digests, export, seeds
scores.py        tables and sentences about the evaluation
sentences.py     sentences about each stage, the verdict and the next steps
plots.py         every picture of the report
figure.py        size, colours and fonts of all pictures
formatting.py    templates; numbers, times and digests
summaries.py     the Markdown summaries that the UI shows
"""
