"""Releases that change scores and keep the label, which whoever learns from labels does not see."""

KEPT_LABELS = (
    "confidence_cap",
    "label_only",
    "purifier",
    "reverse_sigmoid",
    "rounding",
    "temperature",
    "top_k",
)
"""Options of ``conf/defense`` that, as they stand there, answer the undefended target's label.

``purifier`` with ``swap`` and ``reverse_sigmoid`` with ``argmax=charged`` change labels: the
attacks then learn from those that are wrong as well.
"""
