"""What goes wrong with an endpoint is said in plain words, with what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contract import UserError
from bench.models.external.http.endpoint import Channel, open_endpoint
from bench.models.external.http.transcript import Transcript
from tests.models.external.served import Served
from tests.models.external.test_http_asking import channel, records, table

PAGE = b"<html>\n<body>Please log in</body></html>" + b" " * 500


def failed(served: Served, path: Path, way: str = "mlflow", **more: Any) -> str:
    """What the user is told."""
    with pytest.raises(UserError) as caught:
        open_endpoint(channel(served, way, **{"retries": 0} | more), path / "t.db").ask(records(2))
    return str(caught.value)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ((200, {}, PAGE), ["Please log in"]),
        ((200, {}, b"fine, thanks"), ["fine, thanks"]),
        ((200, {}, b""), ["JSON"]),
        ((200, {}, b'{"error": "model not loaded"}'), ["model not loaded"]),
        ((200, {}, b'{"predictions": [[0.1, null], [0.2, 0.3]]}'), ["None"]),
        ((200, {}, b'{"predictions": [[0.1, NaN], [0.2, 0.3]]}'), ["nan"]),
        ((200, {}, b'{"predictions": [null, 1]}'), ["null"]),
        ((200, {}, b'{"predictions": [[0.1, 0.9]]}'), ["asked 2", "answered 1"]),
        ((200, {}, b'{"predictions": [[0.1, 0.9], [1.0]]}'), ["[1, 2]"]),
        ((200, {}, b'{"answer": 1}'), ["predictions", "answer"]),
        ((302, {"Location": "https://login.test/in"}, b""), ["https://login.test/in"]),
        ((307, {"Location": "http://other.test/invocations"}, b""), ["other.test"]),
        ((401, {}, b"who are you"), ["401", "who are you", "`headers` names none"]),
        ((404, {}, b""), ["404", "/invocations"]),
        ((422, {}, b"no column age"), ["422", "no column age"]),
        ((500, {}, b"boom"), ["500", "boom"]),
        ((413, {}, b""), ["413"]),
        ((429, {"Retry-After": "0.001"}, b""), ["429", "rate_per_s"]),
        ((503, {"Retry-After": "86400"}, b""), ["86400"]),
    ],
)
def test_replies_without_an_answer(
    reply: tuple[int, dict[str, str], bytes],
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.models.external.http.asking._REFUSALS", 2)
    with Served(always=reply) as served:
        said = failed(served, tmp_path)
    for part in told:
        assert part in said
    assert "\n" not in said


@pytest.mark.parametrize("status", [200, 422, 500])
def test_values_of_records_that_a_server_quotes_are_left_out(status: int, tmp_path: Path) -> None:
    asked = table()[:1].assign(age=47.25)
    body = b'{"error": "city unknown: Bern (age 47.25)"}'
    with Served(always=(status, {}, body)) as served, pytest.raises(UserError) as caught:
        open_endpoint(channel(served, "many", retries=0), tmp_path / "t.db").ask(asked)
    assert "city unknown" in str(caught.value)
    assert "Bern" not in str(caught.value)
    assert "47" not in str(caught.value).replace(served.url(), "")


def test_a_redirect_within_the_host_is_followed(tmp_path: Path) -> None:
    with Served() as served:
        served.script.append((307, {"Location": "/invocations"}, b""))
        way = Channel(served.url("/old/invocations"))
        assert open_endpoint(way, tmp_path / "t.db").ask(records(2)).scores is not None
        assert served.total == 2


def test_redirects_in_a_circle_end(tmp_path: Path) -> None:
    with Served() as served:
        served.always = (307, {"Location": "/a/invocations"}, b"")
        failed(served, tmp_path)
        assert len(served.headers) < 10
        served.always = (307, {"Location": "http://[bad"}, b"")
        failed(served, tmp_path)


def test_certificates_that_cannot_be_read_cost_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    way = Channel("https://127.0.0.1:1/invocations", retries=0, verify=str(tmp_path / "empty.pem"))
    with pytest.raises(UserError):
        open_endpoint(way, tmp_path / "t.db").ask(records(1))
    assert Transcript(tmp_path / "t.db").counts()["sent"] == 0


def test_a_redirect_elsewhere_takes_no_header_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSPHRASE", "open sesame")
    with Served() as served, Served() as other:
        served.always = (307, {"Location": other.url("/invocations")}, b"")
        failed(served, tmp_path, headers={"X-Key": "PASSPHRASE"})
        assert not other.headers


def test_refused_access_names_the_variables_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_VARIABLE", "xyz")
    with Served(always=(403, {}, b"xyz is not valid")) as served:
        said = failed(served, tmp_path, headers={"X-API-Key": "MY_VARIABLE"})
    assert "X-API-Key" in said
    assert "MY_VARIABLE" in said
    assert "xyz" not in said
    assert Transcript(tmp_path / "t.db").counts()["sent"] == 0


def test_short_values_of_headers_are_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_VARIABLE", "xyz")
    with Served(always=(200, {}, b'{"error": "xyz is not valid"}')) as served:
        said = failed(served, tmp_path, headers={"X-API-Key": "MY_VARIABLE"})
    assert "is not valid" in said
    assert "xyz" not in said


@pytest.mark.parametrize("way", ["kserve", "mlflow"])
def test_a_dead_endpoint_costs_nothing(way: str, tmp_path: Path) -> None:
    with Served() as served:
        pass
    said = failed(served, tmp_path, way, retries=1)
    assert served.url() in said
    assert Transcript(tmp_path / "t.db").counts()["sent"] == 0


def test_no_protection_where_it_is_asked_for(tmp_path: Path) -> None:
    with Served() as served:
        way = Channel(served.url("/invocations").replace("http", "https"), retries=0)
        with pytest.raises(UserError, match="verify"):
            open_endpoint(way, tmp_path / "t.db").ask(records(1))
    assert Transcript(tmp_path / "t.db").counts()["sent"] == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="a certificate is made by openssl")
def test_certificates_are_verified(tmp_path: Path) -> None:
    pem = tmp_path / "own.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    make += f" -addext subjectAltName=IP:127.0.0.1 -keyout {tmp_path}/key -out {tmp_path}/cert"
    subprocess.run(make.split(), check=True, capture_output=True)
    pem.write_bytes((tmp_path / "cert").read_bytes() + (tmp_path / "key").read_bytes())
    with Served(tls=pem) as served:
        assert "`verify`" in failed(served, tmp_path)
        assert Transcript(tmp_path / "t.db").counts()["sent"] == 0
        trusting = channel(served, "mlflow", verify=str(pem))
        assert open_endpoint(trusting, tmp_path / "t.db").ask(records(2)).scores is not None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"url": "http://127.0.0.1/score"}, ["kserve", "mlflow", "template"]),
        ({"url": "http://[bad/invocations"}, ["https://"]),
        ({"url": "http://h:999999/invocations"}, ["https://"]),
        ({"url": "ftp://127.0.0.1/invocations"}, ["https://"]),
        ({"url": "http://me:hidden@127.0.0.1/invocations"}, ["headers"]),
        ({"url": "http://127.0.0.1/invocations?api_key=hidden"}, ["headers"]),
        ({"url": "http://127.0.0.1/", "protocol": "kserve"}, ["`model`"]),
        ({"verify": False}, ["`verify`"]),
        ({"verify": "/no/such.pem"}, ["`verify`"]),
        ({"headers": {"Authorization": "Bearer hidden"}}, ["`headers`"]),
        ({"headers": {"Bad header": "TOKEN"}}, ["`headers`"]),
        ({"headers": {"X-Key": "NOT_SET_ANYWHERE"}}, ["NOT_SET_ANYWHERE"]),
        ({"headers": {"X-Key": "sk_live_hidden"}}, ["X-Key"]),
        ({"protocol": "template", "request": "{", "response": "$"}, ["JSON"]),
        ({"protocol": "template", "request": "{}", "response": "$"}, ["$records"]),
        ({"protocol": "template", "request": '["$records"]'}, ["`response`"]),
        ({"protocol": "template", "request": '["$records"]', "response": "a.b"}, ["$"]),
    ],
)
def test_channels_that_cannot_be_used(
    wrong: dict[str, Any], told: list[str], tmp_path: Path
) -> None:
    with Served() as served, pytest.raises(UserError) as caught:
        given = {"url": served.url("/invocations"), "retries": 0} | wrong
        open_endpoint(Channel(**given), tmp_path / "t.db").ask(records(1))
    for part in told:
        assert part in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert not served.asked


def test_a_header_with_a_line_break_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODD", "first\nsecond")
    with Served() as served:
        said = failed(served, tmp_path, headers={"X-Key": "ODD"})
        assert "second" not in said
        assert not served.headers
    assert Transcript(tmp_path / "t.db").counts()["sent"] == 0


def test_a_shape_that_changes_is_refused(tmp_path: Path) -> None:
    with Served() as served:
        served.script.append((200, {}, json.dumps({"predictions": [[0.5, 0.5]]}).encode()))
        opened = open_endpoint(channel(served, "mlflow"), tmp_path / "t.db")
        opened.ask(records(1))
        with pytest.raises(UserError, match="transcript"):
            opened.ask(records(1, seed=1))


def test_records_that_do_not_fit_the_model_are_not_sent(tmp_path: Path) -> None:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [-1, 7]}]
    with Served(metadata={"inputs": inputs}) as served:
        assert "7" in failed(served, tmp_path, "kserve")
        assert not served.headers
    assert Transcript(tmp_path / "t.db").counts()["sent"] == 0


def test_records_with_gaps_in_an_array_are_not_sent(tmp_path: Path) -> None:
    with Served() as served:
        opened = open_endpoint(channel(served), tmp_path / "t.db")
        with pytest.raises(UserError, match="NaN"):
            opened.ask(np.array([[np.nan, 1, 2]], dtype=np.float32))
        assert not served.headers


def test_a_damaged_transcript_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_bytes(b"no database at all" * 100)
    with Served() as served:
        assert "t.db" in failed(served, tmp_path)


def test_a_reply_that_is_broken_off_is_tried_again_and_counts(tmp_path: Path) -> None:
    with Served() as served:
        served.script.append((200, {"Content-Length": "999999"}, b"{"))
        opened = open_endpoint(channel(served, "mlflow", timeout_s=0.3), tmp_path / "t.db")
        assert opened.ask(records(2)).scores is not None
    assert Transcript(tmp_path / "t.db").counts()["sent"] == 4
