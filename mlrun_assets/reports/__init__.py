"""Text and pictures from records; no decision is made here.

report.py        the report of a run as Markdown and as one HTML file
model_card.py    the model card, which is deployed with the model
data_section.py  the datasheet, tables about the data, the listing of checks
tables.py        tables about the run: prior runs, cost, digests, export, seeds
scores.py        tables and sentences about the evaluation
sentences.py     sentences about each stage; the verdict and the next steps on page one
plots.py         every picture of the report
figure.py        the parts, scales and colours of an SVG picture
formatting.py    templates; numbers, times and digests
summaries.py     summaries that the UI shows, and one fact about each stage
"""
