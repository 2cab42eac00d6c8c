"""Records in, text and pictures out. Nothing here decides anything.

report.py        the report of a run, as Markdown and as one HTML file
model_card.py    the card that is deployed with a model
data_section.py  the datasheet, tables about the data, the listing of checks
tables.py        tables about the run: plan, cost, seeds, export
scores.py        tables and sentences about the evaluation
sentences.py     the verdict in sentences, and what to do next
plots.py         every picture of the report
figure.py        one look for all pictures: size, colours, fonts for any script
formatting.py    numbers, dates and escaped Markdown
summaries.py     the Markdown summaries that the UI shows
"""
