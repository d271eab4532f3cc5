"""Requests and answers of the protocols that a model behind HTTP may speak: pure functions."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from bench.contract import UserError
from bench.contract.secrets import in_one_line
from bench.models.external.http import paths
from bench.models.external.http.readings import Reading, chosen, complaint, reading
from bench.models.external.opened import Inputs

RECORDS = "$records"
"""In a template: a list of records."""
RECORD = "$record"
"""In a template: one record, where a request holds only one."""


def protocol_of(url: str) -> str:
    """The protocol that a URL tells by its form.

    Raises:
        UserError: it tells none.
    """
    path = urlsplit(url).path.rstrip("/")
    if path.endswith("/invocations"):
        return "mlflow"
    if "/v2/" in f"{path}/":
        return "kserve"
    raise UserError(
        "The URL does not tell the protocol of the model: one that ends in /invocations is mlflow "
        "and one with /v2/ is kserve. Set `protocol` to one of kserve (Open Inference Protocol V2: "
        "KServe, MLServer, Triton, Seldon), mlflow (mlflow models serve), or template (your own "
        "`request` and `response`)."
    )


def mlflow_url(url: str) -> str:
    """The URL that MLflow's server answers at, from it or from the server's own."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if not path.endswith("/invocations"):
        path += "/invocations"
    return parts._replace(path=path).geturl()


def mlflow_request(inputs: Inputs) -> dict[str, Any]:
    """The body of a request to ``mlflow models serve``."""
    if isinstance(inputs, pd.DataFrame):
        names = [str(name) for name in inputs.columns]
        return {"dataframe_split": {"columns": names, "data": rows(inputs)}}
    return {"inputs": rows(inputs)}


def mlflow_answers(body: Any, output: str = "") -> Reading:
    """Read what ``mlflow models serve`` answered.

    Raises:
        UserError: it is not such an answer.
    """
    refuse_errors(body)
    found = body.get("predictions") if isinstance(body, dict) else body
    if isinstance(found, dict):
        found = found[chosen(found, output)]
    if not isinstance(found, list):
        raise UserError(
            "The answer has no list 'predictions', as MLflow's server gives it. It holds "
            f"{_summary(body)}. Check that the URL is MLflow's /invocations, or use the protocol "
            "template with your own `response`."
        )
    return reading(found, output)


def check_template(request: str, response: str) -> None:
    """Refuse a template that cannot be used, before anything is sent.

    Raises:
        UserError: the request is no JSON or has not one placeholder, or the response no path.
    """
    used = _placeholders(_template(request))
    if len(used) != 1:
        raise UserError(
            f"The request template holds {len(used)} placeholders. It must hold exactly one text "
            f'that is "{RECORDS}" (a list of records) or "{RECORD}" (one record a request), such '
            f'as {{"instances": "{RECORDS}"}}.'
        )
    if not response:
        raise UserError(
            "The protocol template needs `response`: the path to the answers, such as "
            "$.predictions or $.predictions[*].scores."
        )
    paths.steps(response)


def one_record(request: str) -> bool:
    """Whether a template holds one record a request."""
    return RECORD in _placeholders(_template(request))


def template_request(request: str, inputs: Inputs) -> Any:
    """The body of a request: the template with the records at its placeholder.

    Args:
        request: JSON text with one placeholder.
        inputs: records; where the template holds one record a request, one.
    """
    found: list[Any] = rows(inputs)
    if isinstance(inputs, pd.DataFrame):
        names = [str(name) for name in inputs.columns]
        found = [dict(zip(names, row, strict=True)) for row in found]
    return _filled(_template(request), {RECORDS: found, RECORD: found[0]})


def template_answers(body: Any, response: str, single: bool = False, output: str = "") -> Reading:
    """Read an answer at the path that the user gave.

    Args:
        body: the answer.
        response: the path to the answers.
        single: the request held one record.
        output: the key that holds the answer, where each is an object with several.

    Raises:
        UserError: the answer is an error, the path leads nowhere, or its values are no answers.
    """
    refuse_errors(body)
    found: Any = paths.values(body, response)
    if not paths.several(response):
        found = found[0]
    if single:
        return reading([found], output)
    if isinstance(found, dict):
        found = found[chosen(found, output)]
    if not isinstance(found, list):
        raise UserError(
            f"At `response` ({response}) the answer holds {_summary(found)}, not a list with one "
            "answer for each record. Point it at the list."
        )
    return reading(found, output)


def rows(inputs: Inputs) -> list[list[Any]]:
    """Records as JSON holds them; a gap is null.

    Raises:
        UserError: a number is infinite, or an array has a gap.
    """
    if isinstance(inputs, pd.DataFrame):
        columns = [column(inputs.iloc[:, place]) for place in range(inputs.shape[1])]
        return [list(row) for row in zip(*columns, strict=True)]
    if not np.isfinite(inputs).all():
        raise UserError(
            "A record to be asked holds NaN or an infinite number, which JSON cannot hold. Leave "
            "such records out."
        )
    return list(inputs.tolist())


def column(values: pd.Series[Any]) -> list[Any]:
    """A column of a table as JSON holds it; a gap is null.

    Raises:
        UserError: a number is infinite.
    """
    gaps = values.isna().tolist()
    plain = [
        None if gap else value if isinstance(value, str | int | float) else str(value)
        for value, gap in zip(values.tolist(), gaps, strict=True)
    ]
    if any(isinstance(value, float) and abs(value) == float("inf") for value in plain):
        raise UserError(
            f"The column '{values.name}' holds an infinite number, which JSON cannot hold. Leave "
            "such records out."
        )
    return plain


def refuse_errors(body: Any) -> None:
    """Refuse an error that was sent as a good answer.

    Raises:
        UserError: it is one.
    """
    if said := complaint(body):
        raise UserError(
            f"The endpoint answered with an error though the status was good: {in_one_line(said)}. "
            "Correct the request or the model's server."
        )


def _summary(body: Any) -> str:
    if isinstance(body, dict):
        keys = ", ".join(sorted(map(str, body))[:10])
        return f"an object with the keys {in_one_line(keys) or 'none'}"
    return "a list" if isinstance(body, list) else in_one_line(repr(body), 60)


def _template(request: str) -> Any:
    try:
        return json.loads(request)
    except ValueError as error:
        raise UserError(
            f"The request template is no JSON: {in_one_line(error)}. Placeholders are texts in "
            f'quotes, such as {{"instances": "{RECORDS}"}}.'
        ) from None


def _placeholders(template: Any) -> list[str]:
    if isinstance(template, dict):
        return [found for value in template.values() for found in _placeholders(value)]
    if isinstance(template, list):
        return [found for value in template for found in _placeholders(value)]
    return [template] if template in (RECORDS, RECORD) else []


def _filled(template: Any, values: dict[str, Any]) -> Any:
    if isinstance(template, dict):
        return {key: _filled(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, values) for value in template]
    return values[template] if isinstance(template, str) and template in values else template
