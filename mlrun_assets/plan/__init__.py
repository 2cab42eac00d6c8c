"""The training plan: a recipe, with a reason and the evidence for each choice.

plan.py    all rules to one recipe, and advice that changes no setting
rules.py   what the rules give for each choice: schedule, labels, encoder
choice.py  the rules' inputs: data, machine, encoder, earlier runs; a choice with its reason
"""
