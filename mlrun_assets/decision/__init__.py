"""The deployment decision.

verdict.py  all rules to one verdict, and what would change it
rules.py    each rule: value, limit, interval, outcome
"""
