"""Markdown files that people and other tools edit as well.

registry.py   `_registry.md`: one line per run; how a shared Markdown file is changed
tech_debt.py  `_tech-debt.md`: one numbered item per issue
"""
