"""Rows without labels to rows with the labels that a model gives them.

answering.py   windows of rows → answers, in the order of the rows
occlusion.py   which words moved the label: those without which it is less, or more, likely
"""

from mlrun_assets.stages.prediction.answering import Answer, TextRow, Wanted, answer_rows
from mlrun_assets.stages.prediction.occlusion import Classifier

__all__ = ["Answer", "Classifier", "TextRow", "Wanted", "answer_rows"]
