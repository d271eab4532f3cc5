"""``invbench redteam`` on an endpoint: what is sent, what it costs, and what it gives away."""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.models.external.http.transcript import Transcript
from tests.cli.redteaming import COLUMNS, Place, Said, texts
from tests.models.external.served import Served

SECRET = "a-very-secret-value-of-a-header"


class Bank(Served):
    """A server of the model of these tests, with records of five columns."""

    def answer(self, records: list[list[Any]]) -> Any:
        for record in records:
            self.asked[json.dumps(record)] += 1
        ill = np.array([record[list(COLUMNS).index("ill")] == "flu" for record in records])
        scores = np.where(ill, 0.8, 0.31) + np.array([record[0] for record in records]) / 1000
        if self.labels:
            return [int(score > 0.5) for score in scores]
        return np.stack([1 - scores, scores], 1).tolist()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.made(tmp_path_factory.mktemp("endpoint"))


def ask(place: Place, served: Served, *more: object, budget: int | None = 5000) -> Said:
    limit = [] if budget is None else [f"--budget={budget}"]
    return place.redteam(
        served.url("/invocations"),
        *limit,
        *more,
        controls="[]",
        retries="model.external.retries=0",
    )


def forecast(said: Said) -> int:
    found = re.search(r"About ([\d,]+) records", said.err)
    assert found is not None, said.err
    return int(found[1].replace(",", ""))


def sent(place: Place, campaign: str) -> int:
    return int(Transcript(place.transcript(campaign)).counts()["sent"])


def test_without_a_budget_nothing_is_sent(place: Place) -> None:
    with Bank() as served:
        ask(place, served, budget=None).refused("--budget")
        assert not served.total
        assert not served.gets


def test_too_small_a_budget_costs_a_few_records_at_most(place: Place) -> None:
    with Bank() as served:
        ask(place, served, "--campaign=small", budget=60).refused("budget")
        assert served.total <= 32


def test_another_machine_is_not_asked_without_a_word_that_it_may_be(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("a connection was made")

    url = "http://model.invalid/invocations"
    monkeypatch.setattr(socket.socket, "connect", connect)
    place.redteam(url, "--budget=5000").refused("--i-am-authorised")


def test_a_url_with_a_credential_is_refused_and_not_repeated(place: Place) -> None:
    for url in (
        "http://user:hunter2hunter2@127.0.0.1:9/invocations",
        "http://127.0.0.1:9/invocations?api_key=hunter2hunter2",
    ):
        said = place.redteam(url, "--budget=5000", "--campaign=credential")
        said.refused("credential")
        assert "hunter2" not in said.err + said.out
    for path, content in texts(place.folder).items():
        assert b"hunter2" not in content, path


def test_a_missing_variable_of_a_header_is_a_plain_sentence(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    with Bank() as served:
        ask(place, served, "--header=X-Key=NO_SUCH_VARIABLE").refused("NO_SUCH_VARIABLE")
        assert not served.total
    ask(place, served, "--header=X-Key").refused("--header")


def test_a_dead_endpoint_and_a_page_are_plain_sentences(place: Place) -> None:
    with Bank() as served:
        pass
    ask(place, served, "--campaign=dead").refused("reached")
    page = (200, {"Content-Type": "text/html"}, b"<html><body>Please log in</body></html>")
    with Bank(always=page) as served:
        ask(place, served, "--campaign=page").refused()
        assert not (place.shared("page") / "redteam.json").exists()


@pytest.mark.slow
def test_a_model_that_answers_labels_is_attacked_by_labels(place: Place) -> None:
    with Bank(labels=True) as served:
        ask(place, served, "--campaign=labels").refused("--access labels")
        said = ask(place, served, "--campaign=labels", "--access=labels", "--json")
    assert said.code in (0, 1), said.err
    assert {row["access"] for row in said.data["rows"]} == {"labels"}
    assert not said.data["unfinished"]


@pytest.mark.slow
def test_a_campaign_of_an_endpoint(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut short, goes on, asks nothing twice, and another one asks anew."""
    monkeypatch.setenv("MODEL_VARIABLE", SECRET)
    header = "--header=X-Model=MODEL_VARIABLE"
    with Bank(dies_after=200) as served:
        cut = ask(place, served, "--campaign=cut", header)
        asked, port = served.asked, served.port
    assert cut.code == 1, cut.err
    assert "not finished" in cut.err
    before = Counter(asked)
    with Bank(port=port, asked=asked) as served:
        whole = ask(place, served, "--campaign=cut", header, "--json")
        assert served.headers[0]["X-Model"] == SECRET
        assert not whole.data["unfinished"], whole.err
        assert served.total > before.total()
        # The eight that it is tried on are asked twice: whether it repeats itself.
        often = [times for times in served.asked.values() if times > 1]
        assert often == [2] * 8
        assert sent(place, "cut") >= served.total
        guess = forecast(whole)
        assert abs(guess - len(served.asked)) <= 0.15 * len(served.asked)
        total = served.total
        same = ask(place, served, "--campaign=cut", header, "--json")
        assert served.total == total
        assert same.data["rows"] == whole.data["rows"]
        ask(place, served, "--campaign=anew", header)
        assert served.total >= 1.8 * len(served.asked)
    for folder in ("store", "report"):
        for path, content in texts(place.folder / folder).items():
            assert SECRET.encode() not in content, path
    for path, content in texts(place.shared("cut")).items():
        assert b"redteam-private" not in content, path


@pytest.mark.slow
def test_the_banner_says_whose_model_it_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.models.external.http import endpoint

    monkeypatch.setattr(endpoint, "loopback", lambda _: False)
    with Bank() as served:
        # What is on another machine may need a protected connection; the word alone is tried here.
        said = ask(place, served, "--campaign=away", "--i-am-authorised", "--plan")
    if said.code == 0:
        assert "allowed" in said.err.splitlines()[0]
    else:
        said.refused("https")


def test_a_campaign_stays_in_its_folder(place: Place, tmp_path: Path) -> None:
    for name in ("../x", "a/b", "..", ".hidden", "a\\..\\b", "x[/../../y]", " "):
        place.redteam("m:f", f"--campaign={name}").refused("--campaign")
    assert not (place.folder / "x").exists()
