"""Plain values to HTML: every value is escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bench.contract.names import words

TEMPLATES = Path(__file__).parent / "templates"


def page(template: str, values: Mapping[str, Any]) -> str:
    """A page by the name of its template, as ``index.html``."""
    return _environment().get_template(f"{template}.j2").render(**values) + "\n"


def style() -> str:
    """The style sheet; a class ``v56`` puts a cell at 56 on the ramp of leakage."""
    ramp = "\n".join(f".v{at}{{--v:{at}{_ink(at)}}}" for at in range(101))
    return (TEMPLATES / "style.css").read_text(encoding="utf-8") + ramp + "\n"


def script() -> str:
    """The site's own script."""
    return (TEMPLATES / "site.js").read_text(encoding="utf-8")


@cache
def plotly() -> str:
    """The one library that draws, to be served beside the pages."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    return str(get_plotlyjs())


@cache
def styled() -> tuple[str, ...]:
    """Identifiers of style elements that the library would add, which the policy forbids.

    It leaves out what is there already, and none of it is for what is drawn here.
    """
    return tuple(sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly()))))


def label(title: str, settings: str, name: str) -> Markup:
    """What people call a row: its settings are smaller, and the machine's name is its tip."""
    small = Markup(" <small>{}</small>").format(settings) if settings else ""
    return Markup('<span class="name" title="{}">{}{}</span>').format(name, title, small)


def _ink(at: int) -> str:
    strong, middle = at >= 78, at >= 55  # where black and white both stand out
    return f";--on:var(--heat-{'hi' if strong else 'mid'}-ink)" if middle or strong else ""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["soft"] = _soft
    environment.filters["data"] = _data
    environment.globals["styled"] = styled()
    environment.filters["words"] = words
    return environment


def _soft(name: str) -> Markup:
    """An escaped row name that may break before its options."""
    return Markup(re.sub(r"(?=\[)|(?<=[,_])", "<wbr>", str(escape(name))))


def _data(value: Any) -> Markup:
    """JSON that may stand in a script element of the page."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
