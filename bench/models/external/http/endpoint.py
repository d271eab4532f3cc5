"""A model behind HTTP that is attacked with its owner's permission."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.contract import require
from bench.contract.identity import digest
from bench.contract.secrets import redacted
from bench.models.external.http import explaining, protocols, tensors
from bench.models.external.http.asking import Asker, Speech, back_off
from bench.models.external.http.sending import Headers, Reply, Sender, loopback, verified
from bench.models.external.http.transcript import LEASE_S, Transcript
from bench.models.external.opened import Answered, Inputs, Opened

__all__ = ["Channel", "check_url", "loopback", "open_endpoint"]

_NOT_SERVED = (404, 405, 501)
_GIVEN_UP_GET = (*_NOT_SERVED, 400, 500)


@dataclass(frozen=True)
class Channel:
    """Where a model answers, and how it may be asked.

    Attributes:
        url: of the model; for kserve also of its server, for mlflow too.
        protocol: kserve, mlflow, template, or auto: as the form of the URL tells.
        model: its name on a server of the protocol kserve.
        headers: for each header the name of the environment variable that holds its whole value.
        timeout_s: seconds to wait for a reply.
        retries: further tries after a failure.
        rate_per_s: records a second, by all processes together; None: any number.
        batch: records a request, at most.
        budget: records that may be sent, by all processes together; None: any number.
        verify: True, or the path of a bundle of certificates to trust.
        request: of the protocol template: JSON text with a placeholder for records.
        response: of the protocol template: the path to the answers.
        output: the output that holds the scores, where several could.
        fresh: whether the same record may be answered differently, so that it is asked again each
            time that an attack asks it.
        campaign: a word for the time in which it is asked: another one has answers and a budget of
            its own.
    """

    url: str
    protocol: str = "auto"
    model: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 60.0
    retries: int = 4
    rate_per_s: float | None = None
    batch: int = 64
    budget: int | None = None
    verify: bool | str = True
    request: str = ""
    response: str = ""
    output: str = ""
    fresh: bool = True
    campaign: str = ""


def open_endpoint(channel: Channel, transcript: Path) -> Opened:
    """Open a model behind HTTP.

    No record is sent. A model of the protocol kserve is asked for its metadata, once for each
    transcript.

    Args:
        channel: where it answers, and how it may be asked.
        transcript: the file of what it answered, which is made if absent.

    Raises:
        UserError: the channel cannot be used, or the model cannot be reached.
    """
    _check(channel)
    headers = Headers(channel.headers)
    sender = Sender(headers, channel.timeout_s, verified(channel.verify), loopback(channel.url))
    try:
        return _opened(channel, transcript, sender)
    except BaseException:
        sender.close()
        raise


def _opened(channel: Channel, path: Path, sender: Sender) -> Opened:
    protocol = channel.protocol
    protocol = protocols.protocol_of(channel.url) if protocol == "auto" else protocol
    url = _url(channel, protocol)
    shared = Transcript(
        path,
        endpoint=_identity(channel, protocol, url),
        place=digest([url, channel.campaign]),
        budget=channel.budget,
        rate_per_s=channel.rate_per_s,
        lease_s=max(LEASE_S, 2 * channel.timeout_s),
    )
    about = tensors.Metadata()
    if protocol == "kserve":
        about = _metadata(channel, url, sender, shared)
    speech = _speech(channel, protocol, url, about)
    asker = Asker(speech, sender, shared, _batch(channel, speech), channel.retries, channel.fresh)
    ask = _asking(asker)
    weakref.finalize(ask, sender.close)
    facts: dict[str, Any] = {
        "protocol": protocol,
        "url": redacted(url),
        "model": channel.model,
        "headers": sorted(channel.headers),
    }
    if protocol == "kserve":
        facts |= {name: about.plain()[name] for name in ("inputs", "outputs")}
    return Opened(ask=ask, facts=facts)


def _asking(asker: Asker) -> Callable[[Inputs], Answered]:
    def ask(inputs: Inputs) -> Answered:
        return asker(inputs)

    return ask


def check_url(url: str) -> None:
    """Refuse what is no address of an endpoint.

    Raises:
        UserError: it is none.
    """
    require(
        _is_url(url),
        f"The URL '{redacted(url)}' is not understood. It must start with http:// or https:// and "
        "name a host.",
    )


def _check(channel: Channel) -> None:
    check_url(channel.url)
    require(
        redacted(channel.url) == channel.url,
        f"The URL {channel.url} holds what looks like a credential. URLs are kept in records and "
        "reports. Take it out, set an environment variable to it, and name the variable for a "
        "header in `headers`, such as Authorization or X-API-Key.",
    )
    if channel.protocol == "template":
        protocols.check_template(channel.request, channel.response)


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _url(channel: Channel, protocol: str) -> str:
    if protocol == "kserve":
        return tensors.infer_url(channel.url, channel.model)
    return protocols.mlflow_url(channel.url) if protocol == "mlflow" else channel.url


def _identity(channel: Channel, protocol: str, url: str) -> str:
    """What decides the answers. Of headers it holds the variables' names, never their values."""
    return digest(
        {
            "url": url,
            "protocol": protocol,
            "headers": dict(channel.headers),
            "request": channel.request,
            "response": channel.response,
            "output": channel.output,
            "campaign": channel.campaign,
        }
    )


def _speech(channel: Channel, protocol: str, url: str, about: tensors.Metadata) -> Speech:
    output = channel.output
    if protocol == "kserve":
        return Speech(
            protocol,
            url,
            request=partial(tensors.kserve_request, about=about, output=output),
            read=partial(tensors.kserve_answers, output=output),
        )
    if protocol == "mlflow":
        return Speech(
            protocol,
            url,
            request=protocols.mlflow_request,
            read=partial(protocols.mlflow_answers, output=output),
        )
    single = protocols.one_record(channel.request)
    return Speech(
        protocol,
        url,
        request=partial(protocols.template_request, channel.request),
        read=partial(
            protocols.template_answers, response=channel.response, single=single, output=output
        ),
        most=1 if single else None,
    )


def _batch(channel: Channel, speech: Speech) -> int:
    """Records a request: not more than the rate allows in one second."""
    batch = min(channel.batch, speech.most or channel.batch)
    return min(batch, max(1, int(channel.rate_per_s))) if channel.rate_per_s else batch


def _metadata(
    channel: Channel, url: str, sender: Sender, transcript: Transcript
) -> tensors.Metadata:
    """What the model says of itself, from the transcript or from the model."""
    told = transcript.told()
    if "metadata" not in told:
        where = tensors.metadata_url(url)
        reply = _page(where, sender, channel.retries)
        if not explaining.good(reply) and reply.status not in _GIVEN_UP_GET:
            raise explaining.explained(reply, where, "kserve", sender.headers)
        if not explaining.good(reply) and reply.status not in _NOT_SERVED:
            return tensors.Metadata()
        body = explaining.parsed(reply, sender.headers) if explaining.good(reply) else {}
        told = transcript.told({"metadata": tensors.metadata(body).plain()})
    return tensors.metadata(told["metadata"])


def _page(url: str, sender: Sender, retries: int) -> Reply:
    reply = sender.get(url)
    for tries in range(retries):
        if not explaining.again(reply) and reply.status != 429:
            break
        time.sleep(back_off(tries, min(reply.retry_after or 0, 60.0) or None))
        reply = sender.get(url)
    return reply
