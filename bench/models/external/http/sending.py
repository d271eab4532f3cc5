"""One request and its reply, with headers from the environment that nothing else ever sees."""

from __future__ import annotations

import email.utils
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urljoin, urlsplit

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
)

from bench.contract import UserError
from bench.contract.secrets import HIDDEN, in_one_line

Failure = Literal["", "refused", "late", "broken", "tls", "unsendable"]
"""Why no reply came: not connected; not in time; broken off; no TLS; not sent at all."""

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LIKE_A_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_HANDSHAKE = re.compile(
    "CERTIFICATE|WRONG_VERSION_NUMBER|UNSUPPORTED_PROTOCOL|HANDSHAKE|HTTP_REQUEST|doesn't match"
)
"""Words of OpenSSL for a protected connection that was never made."""
_CONNECT_S = 10.0
_MOST_REDIRECTS = 3
_LONG = 8
"""A shorter value may be an ordinary word, which is hidden in errors but may be a label."""
_TEXTS = (str, list, dict)


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: of HTTP; 0: no reply came.
        body: as it came.
        failure: why no reply came.
        said: what the failure says, without credentials.
        location: where a redirect leads, without credentials.
        retry_after: seconds that the endpoint asks to wait; None: it does not ask.
    """

    status: int = 0
    body: bytes = b""
    failure: Failure = ""
    said: str = ""
    location: str = ""
    retry_after: float | None = None


class Headers:
    """Headers whose values stand in environment variables and are read when they are sent.

    Args:
        variables: the name of an environment variable for each header.

    Raises:
        UserError: a name is none.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        for header, variable in variables.items():
            if not _HEADER.fullmatch(header) or not _VARIABLE.fullmatch(variable):
                # The values are not shown: somebody may have written the credential itself there.
                raise UserError(
                    "An entry of `headers` is not understood. Each is the name of a header with "
                    "the name of the environment variable that holds its whole value, such as "
                    "Authorization with MY_TOKEN; the value itself must not be written there."
                )
        self.variables = dict(variables)
        self._seen: set[str] = set()

    def values(self) -> dict[str, str]:
        """The headers to send now.

        Raises:
            UserError: a variable is not set, or holds what no header may hold.
        """
        values = {}
        for header, variable in self.variables.items():
            value = os.environ.get(variable, "").strip()
            if not value:
                raise UserError(
                    f"The environment variable {shown(variable)} for the header '{header}' is not "
                    "set. Set it to the whole value of the header before the run is started."
                )
            self._seen.add(value)
            if not value.isprintable() or not value.isascii():
                raise UserError(
                    f"The environment variable {shown(variable)} for the header '{header}' holds "
                    "line breaks or letters that a header cannot hold. Set it anew."
                )
            values[header] = value
        return values

    def hidden(self, text: str, shortest: int = 1) -> str:
        """A text without any value of a header, whatever its variable is called."""
        parts = {part for value in self._seen for part in (value, *value.split()[1:])}
        forms = {
            form
            for part in parts
            if len(part) >= shortest
            for form in (part, quote(part), quote(part, safe=""), json.dumps(part)[1:-1])
        }
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, HIDDEN)
        return text

    def cleaned(self, value: Any) -> Any:
        """JSON values in which every text is without the long values of headers."""
        if not self._seen:
            return value
        if isinstance(value, str):
            return self.hidden(value, _LONG)
        if isinstance(value, list):
            return [self.cleaned(item) if isinstance(item, _TEXTS) else item for item in value]
        if isinstance(value, dict):
            return {self.cleaned(name): self.cleaned(item) for name, item in value.items()}
        return value

    def line(self, text: object, limit: int = 300) -> str:
        """A text as one line for an error message, without credentials."""
        return in_one_line(self.hidden(str(text)), limit)

    def told(self) -> str:
        """Which headers were sent, for error messages."""
        if not self.variables:
            return "No header was sent with it: `headers` names none"
        names = ", ".join(
            f"'{header}' from {shown(variable)}" for header, variable in self.variables.items()
        )
        return f"These headers were sent with it: {names}"


class _Session(requests.Session):
    """A session that leaves redirects, which may lead to no URL at all, to the sender."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: it is not looked for."""
        return None


class Sender:
    """A session with one endpoint.

    Args:
        headers: what is sent with each request.
        timeout_s: seconds to wait for a reply.
        verify: whether certificates are verified, or the path of a bundle of trusted ones.
        direct: whether proxies of the environment are left aside.
    """

    def __init__(
        self, headers: Headers, timeout_s: float, verify: bool | str, direct: bool
    ) -> None:
        self.headers = headers
        self._timeout = (min(timeout_s, _CONNECT_S), timeout_s)
        self._verify = verify
        self._direct = direct
        self._session = self._fresh()

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    def get(self, url: str) -> Reply:
        """Read a page of the endpoint."""
        return self._follow("GET", url, None)

    def post(self, url: str, body: bytes) -> Reply:
        """Ask the endpoint."""
        return self._follow("POST", url, body)

    def _fresh(self) -> requests.Session:
        self._process = os.getpid()
        session = _Session()
        session.trust_env = not self._direct
        # Otherwise a password in ~/.netrc would take the place of the user's own header.
        session.auth = _as_given
        return session

    def _follow(self, method: str, url: str, body: bytes | None) -> Reply:
        """Follow redirects that keep the request and stay at the same host."""
        for _ in range(_MOST_REDIRECTS):
            reply, target = self._once(method, url, body)
            if reply.status not in (307, 308) or not _same_host(url, target):
                return reply
            url = target
        return reply

    def _once(self, method: str, url: str, body: bytes | None) -> tuple[Reply, str]:
        headers = {"Accept": "application/json", "User-Agent": "inversion-bench"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers |= self.headers.values()
        if self._process != os.getpid():
            # Two processes that share a connection would read each other's replies.
            self._session = self._fresh()
        try:
            with self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=self._timeout,
                verify=self._verify,
                allow_redirects=False,
            ) as response:
                target = _joined(url, response.headers.get("Location", ""))
                return self._reply(response, target), target
        except (OSError, ValueError, HTTPError) as error:
            failure, said = _failure(error), self.headers.line(error)
        return Reply(failure=failure, said=said), ""

    def _reply(self, response: requests.Response, target: str) -> Reply:
        return Reply(
            status=response.status_code,
            body=response.content,
            location=self.headers.line(target),
            retry_after=seconds(response.headers.get("Retry-After", "")),
        )


def shown(variable: str) -> str:
    """The name of a variable, unless it looks like a credential that was written there instead."""
    return variable if _LIKE_A_VARIABLE.fullmatch(variable) else "(its name is left out)"


def seconds(retry_after: str) -> float | None:
    """Seconds that a header ``Retry-After`` asks to wait; None: it says nothing that is clear."""
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(0.0, wait) if wait < float("inf") else None


def loopback(url: str) -> bool:
    """Whether a URL leads to this very machine, by its address or by what its name resolves to."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False  # It leads nowhere.
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return _is_loopback(host)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_is_loopback(str(entry[4][0])) for entry in found)


def verified(verify: bool | str) -> bool | str:
    """How certificates are verified.

    Raises:
        UserError: they are not to be, or the bundle is absent.
    """
    if verify is True or (isinstance(verify, str) and Path(verify).is_file()):
        return verify
    raise UserError(
        "`verify` is not understood: certificates are always verified. Set it to true, or to the "
        "path of a PEM file with the certificates to trust, which must be there."
    )


def _is_loopback(address: str) -> bool:
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback


def _same_host(url: str, target: str) -> bool:
    """Whether headers may go to where a redirect leads."""
    here, there = urlsplit(url), urlsplit(target)
    if target == url or here.hostname != there.hostname:
        return False
    if (here.scheme, there.scheme) == ("http", "https"):
        return (here.port, there.port) in ((None, None), (80, None), (None, 443), (80, 443))
    return here.scheme == there.scheme and here.port == there.port


def _joined(url: str, location: str) -> str:
    """Where a redirect leads; the URL itself where that cannot be read."""
    try:
        target = urljoin(url, location)
        _ = urlsplit(target).port
    except ValueError:
        return url
    return target


def _as_given(request: Any) -> Any:
    return request


def _failure(error: Exception) -> Failure:
    """What kind of failure it is; what may have reached the model is ``late`` or ``broken``."""
    kinds = requests.exceptions
    if isinstance(error, kinds.SSLError):
        return "tls" if _HANDSHAKE.search(str(error)) else "broken"
    if isinstance(error, kinds.ConnectTimeout | kinds.ProxyError):
        return "refused"
    if isinstance(error, kinds.ReadTimeout):
        return "late"
    if isinstance(error, kinds.ConnectionError):
        inner = error.args[0] if error.args else None
        reason = inner.reason if isinstance(inner, MaxRetryError) else inner
        never = isinstance(reason, NewConnectionError | ConnectTimeoutError)
        return "refused" if never else "broken"
    if isinstance(error, kinds.InvalidURL | kinds.MissingSchema | kinds.InvalidSchema):
        return "unsendable"
    # A bundle of certificates that is absent is the only plain error of a file.
    return "tls" if type(error) is OSError else "broken"
