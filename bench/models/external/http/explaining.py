"""What a reply of an endpoint means, and what to do about one that answers nothing."""

from __future__ import annotations

import json
import re
from typing import Any

from bench.contract import UserError
from bench.models.external.http.protocols import rows
from bench.models.external.http.sending import Headers, Reply
from bench.models.external.opened import Inputs

_TOO_LARGE = re.compile(
    r"(?i)too (large|big|many|long)|batch.?size|max(imum)?\b.{0,40}\b(batch|size|items|instances|"
    r"records|rows|length)|exceed"
)
_UNPROCESSED = frozenset({401, 403, 404, 405, 406, 407, 413, 415, 429, 503})
_AGAIN = frozenset({502, 503, 504})
_SHOWN = 80
_WORD = re.compile(r"[\w.+-]*\w")


def without(inputs: Inputs, text: str) -> str:
    """What a server says, for a report, without the values of the records that it may quote."""
    asked = {_word(word) for word in _WORD.findall(json.dumps(rows(inputs), ensure_ascii=False))}
    asked.discard("null")
    return _WORD.sub(lambda found: "***" if _word(found[0]) in asked else found[0], text)


def _word(text: str) -> str:
    """A word or number in one spelling."""
    try:
        return str(float(text))
    except ValueError:
        return text.lower()


def good(reply: Reply) -> bool:
    """Whether an answer came."""
    return 200 <= reply.status < 300


def unprocessed(reply: Reply) -> bool:
    """Whether the model certainly answered nothing, so that it does not count."""
    if not reply.status:
        return reply.failure in ("refused", "tls", "unsendable")
    return reply.status in _UNPROCESSED or 300 <= reply.status < 400


def again(reply: Reply) -> bool:
    """Whether another try may help."""
    return reply.status in _AGAIN or reply.failure in ("refused", "late", "broken")


def too_large(reply: Reply) -> bool:
    """Whether the request held more than the endpoint takes at once."""
    text = reply.body[:2000].decode(errors="replace")
    return reply.status == 413 or (reply.status == 400 and bool(_TOO_LARGE.search(text)))


def parsed(reply: Reply, headers: Headers) -> Any:
    """The answer as JSON without credentials, whatever its content type says.

    Raises:
        UserError: it is none.
    """
    try:
        return headers.cleaned(json.loads(reply.body))
    except ValueError:
        pass
    text = reply.body.decode(errors="replace").strip()
    start = headers.line(text, _SHOWN)
    if text.startswith("<"):
        raise UserError(
            "The endpoint answered with a web page instead of JSON. It may be a login page or the "
            f"page of a proxy. {headers.told()}. Check the URL and the credentials. The page "
            f"starts with: {start}"
        )
    raise UserError(
        "The endpoint answered with what is no JSON. Check that the URL is that of the model and "
        f"that `protocol` is right. It starts with: {start or '(nothing)'}"
    )


def explained(reply: Reply, url: str, protocol: str, headers: Headers) -> UserError:
    """An error in plain words for a reply that answers nothing."""
    where = headers.line(url)
    if not reply.status:
        return _no_reply(reply, where)
    kind = "redirect" if 300 <= reply.status < 400 else _KINDS.get(reply.status)
    meaning = _MEANINGS[kind or ("request" if reply.status < 500 else "server")]
    text = headers.line(reply.body.decode(errors="replace"), 200)
    said = f" It said: {text}" if text else " It said nothing more."
    return UserError(
        f"The endpoint {where} "
        + meaning.format(
            status=reply.status,
            location=reply.location,
            headers=headers.told(),
            protocol=protocol,
            tried=_TRIED.get(protocol, ""),
        )
        + said
    )


_KINDS = {401: "access", 403: "access", 407: "access", 404: "nothing", 405: "nothing"} | {
    413: "large",
    429: "often",
}
_MEANINGS = {
    "redirect": "sends on to {location}, where the request is not sent: it is another host, an "
    "unprotected one, or a page to log in at. {headers}. Check the credentials, or set `url` to "
    "the address that answers.",
    "access": "refuses access (status {status}). {headers}. Check that each variable holds the "
    "whole value of its header, with the scheme before a token, and that it is still valid.",
    "nothing": "has nothing to ask (status {status}); it was tried by the protocol {protocol}. "
    "{tried}",
    "large": "takes not even one record at once (status {status}). Ask its owner to allow larger "
    "requests.",
    "often": "keeps refusing requests because there are too many (status {status}). Set "
    "`rate_per_s` to what it allows and run the same campaign again: no record that was answered "
    "is asked again.",
    "request": "does not understand the request (status {status}). Check `protocol`, and that the "
    "records have the form that the model takes.",
    "server": "failed (status {status}). See the log of its server, and run the same campaign "
    "again: no record that was answered is asked again.",
}
_TRIED = {
    "kserve": "Check `url` and `model`: a model of the Open Inference Protocol V2 answers at "
    "SERVER/v2/models/NAME/infer.",
    "mlflow": "Check `url`: MLflow's server answers at SERVER/invocations.",
    "template": "Check `url`: the protocol template asks at exactly the URL that is given.",
}


def _no_reply(reply: Reply, where: str) -> UserError:
    if reply.failure == "tls":
        return UserError(
            f"No protected connection to {where} could be made. If its certificate was issued by "
            "your own organisation, set `verify` to the PEM file of the issuer's certificates; "
            f"certificates are always verified. {reply.said}"
        )
    if reply.failure == "unsendable":
        return UserError(
            f"The request to {where} could not be sent. Check `url` and `headers`. {reply.said}"
        )
    what = {
        "refused": "cannot be reached",
        "late": "did not answer in time (`timeout_s`)",
        "broken": "broke the connection off",
    }[reply.failure]
    return UserError(
        f"The endpoint {where} {what}. Check that its server runs and that this machine may reach "
        "it, and run the same campaign again: no record that was answered is asked again. "
        f"{reply.said}"
    )
