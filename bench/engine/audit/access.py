"""Reads access logs of web servers: who asked when; neither records nor answers are in them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from bench.contract import require
from bench.engine.audit.files import Source, lines
from bench.engine.audit.tables import batches

_NGINX = re.compile(
    r'(?P<addr>\S+) \S+ (?P<user>.+?) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" \d{3} '
)
"""nginx's ``combined``, Apache's ``common`` and ``combined``, and what extends them at the end."""
_UVICORN = re.compile(
    r'(?P<before>.*?)(?P<addr>\S+):\d+ - "(?P<request>[^"]*)" \d{3}(?P<after>[^"]*)$'
)
"""uvicorn's ``%(client_addr)s - "%(request_line)s" %(status_code)s``, after what precedes it."""
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FORMS = {
    "nginx": 'ADDRESS - USER [10/Oct/2025:13:55:36 +0000] "POST /predict HTTP/1.1" 200 123 ...',
    "uvicorn": '2025-10-10 13:55:36,123 INFO: ADDRESS:PORT - "POST /predict HTTP/1.1" 200 OK',
}


def requests(log: Source, prefix: str, notes: list[str]) -> Iterator[pa.Table]:
    """Time and account of every request.

    Args:
        log: an access log.
        prefix: how the paths of requests begin that ask the model; "" counts all.
        notes: gets sentences on what was left out.

    Raises:
        UserError: no line is of the format, or lines have no time.
    """
    counts = dict.fromkeys(("kept", "users", "elsewhere", "other"), 0)

    def rows() -> Iterator[dict[str, str]]:
        pattern = _NGINX if log.format == "nginx" else _UVICORN
        for number, line in lines(log):
            text = _COLOUR.sub("", line.decode("utf-8", "backslashreplace").strip())
            match = pattern.match(text)
            if match is None:
                counts["other"] += 1
                continue
            fields = match.groupdict()
            words = fields["request"].split(" ")
            if prefix and not (len(words) > 1 and words[1].startswith(prefix)):
                counts["elsewhere"] += 1
                continue
            named = fields.get("user") not in (None, "-")
            if log.format == "uvicorn":
                stamp = _STAMP.search(fields["before"])
                require(
                    stamp is not None,
                    f"{log}, line {number} has no time, as uvicorn writes it unless told; give "
                    "uvicorn a --log-config whose access format begins with '%(asctime)s ', and "
                    "audit what it logs from then on.",
                )
                fields["time"] = stamp[0] if stamp else ""
            counts["kept"] += 1
            counts["users"] += named
            yield {"time": fields["time"], "account": fields["user" if named else "addr"]}

    yield from batches(rows())
    where = f" whose path begins with '{prefix}'" if prefix else ""
    require(
        counts["kept"] > 0,
        f"{log} has no request{where} in the form of {log.format}: {_FORMS[log.format]}.",
    )
    if counts["other"]:
        notes.append(f"{log}: {counts['other']:,} lines are no requests and were left out.")
    if counts["elsewhere"]:
        notes.append(f"{log}: {counts['elsewhere']:,} requests to other paths were left out.")
    if counts["users"] < counts["kept"]:
        notes.append(
            f"{log}: {counts['kept'] - counts['users']:,} requests name no user; their account is "
            "the client's address, which several people may share and one may change."
        )
