"""How files write that a value is not given: one list for every reader of a user's data."""

from __future__ import annotations

GAPS = frozenset(
    {
        *("", "-", "--", ".", "?", r"\N", "(null)", "<null>", "(missing)"),
        *("NA", "na", "N/A", "n/a", "N.A.", "n.a.", "#N/A", "#N/A N/A", "#NA", "<NA>"),
        *("NaN", "nan", "NAN", "Nan", "-NaN", "-nan", "1.#QNAN", "-1.#QNAN", "1.#IND", "-1.#IND"),
        *("None", "NULL", "null", "Null", "NaT", "nil"),
        *("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!"),
    }
)
"""Texts that stand for a gap, without the blanks around them: those of databases (``\\N``,
``NULL``), R (``NA``), pandas (``NaN``, ``<NA>``, ``NaT``), Python (``None``), spreadsheets
(``#N/A`` and their errors) and questionnaires (``?``, ``-``). A plain "none" or "unknown" is an
answer."""
