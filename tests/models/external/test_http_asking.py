"""A campaign asks each record once, within its budget and its rate, and leaks nothing."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.contract import UserError
from bench.models.external.http.endpoint import Channel, loopback, open_endpoint
from bench.models.external.http.transcript import BudgetSpent, Transcript
from tests.models.external.served import COLUMNS, Served, encoded, probabilities

SECRET = "Bearer swordfish-0123456789"
WAYS = ("kserve", "mlflow", "many", "one")


def records(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


def table(n: int = 6) -> pd.DataFrame:
    ages = np.random.default_rng(1).normal(size=n)
    return pd.DataFrame(
        {"age": ages, "income": [1.5, None] * (n // 2), "city": ["Bern", None, "Rome"] * (n // 3)}
    ).fillna({"income": 2.5})


def channel(served: Served, way: str = "kserve", **more: Any) -> Channel:
    more = {"retries": 2, "timeout_s": 5.0, "batch": 4} | more
    if way == "kserve":
        return Channel(served.url("/v2/models/m"), "auto", **more)
    if way == "mlflow":
        return Channel(served.url("/invocations"), "auto", **more)
    many = way == "many"
    return Channel(
        served.url("/many" if many else "/one"),
        "template",
        request='{"instances": "$records"}' if many else '{"instance": "$record"}',
        response="$.data.rows[*].p" if many else "$['result']",
        **more,
    )


@pytest.mark.parametrize("way", WAYS)
def test_answers_are_the_models_in_order_and_asked_once(way: str, tmp_path: Path) -> None:
    x = records(11)
    with Served() as served:
        opened = open_endpoint(channel(served, way), tmp_path / "t.db")
        answered = opened.ask(x)
        again = open_endpoint(channel(served, way), tmp_path / "t.db").ask(x[::-1])
        assert served.total == 11
    np.testing.assert_allclose(answered.scores, probabilities(x), atol=1e-6)
    np.testing.assert_array_equal(answered.scores, again.scores[::-1])
    assert Transcript(tmp_path / "t.db").counts()["recalled"] == 11


@pytest.mark.parametrize("way", WAYS)
def test_tables_are_asked_by_column(way: str, tmp_path: Path) -> None:
    asked = table()
    with Served() as served:
        if way == "kserve":
            kinds = ("FP64", "FP64", "BYTES")
            served.metadata = {
                "inputs": [
                    {"name": name, "datatype": kind, "shape": [-1, 1]}
                    for name, kind in zip(COLUMNS, kinds, strict=True)
                ],
                "outputs": [{"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]}],
                "parameters": {"content_type": "pd"},
            }
        opened = open_endpoint(channel(served, way), tmp_path / "t.db")
        answered = opened.ask(asked)
        if way == "kserve":
            assert served.bodies[0]["parameters"] == {"content_type": "pd"}
            assert served.bodies[0]["outputs"] == [{"name": "predict_proba"}]
            assert [one["datatype"] for one in opened.facts["inputs"]] == list(kinds)
    rows = asked.astype(object).where(asked.notna(), None).values.tolist()
    np.testing.assert_allclose(answered.scores, probabilities(encoded(rows)))


@pytest.mark.parametrize("way", WAYS)
def test_a_campaign_that_is_interrupted_repeats_nothing(way: str, tmp_path: Path) -> None:
    x = records(20)
    path = tmp_path / "t.db"
    with Served(dies_after=9) as served:
        opened = open_endpoint(channel(served, way, retries=1), path)
        with pytest.raises(UserError, match="again"):
            opened.ask(x)
        assert 0 < served.total < 20
    with Served(port=served.port, asked=served.asked) as served:
        # The same asker, whose connection is gone, and another process' asker.
        first = opened.ask(x)
        second = open_endpoint(channel(served, way), path).ask(x)
        assert set(served.asked.values()) == {1}
        assert served.total == 20
    np.testing.assert_allclose(first.scores, probabilities(x), atol=1e-6)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_what_is_known_needs_no_server(tmp_path: Path) -> None:
    x = records(5)
    with Served() as served:
        way = channel(served)
        first = open_endpoint(way, tmp_path / "t.db").ask(x)
    second = open_endpoint(way, tmp_path / "t.db").ask(x)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_a_noisy_endpoint_can_be_averaged_and_is_replayed(tmp_path: Path) -> None:
    x = np.repeat(records(1), 3, axis=0)
    with Served(noise=True) as served:
        opened = open_endpoint(channel(served), tmp_path / "t.db")
        first, second = opened.ask(x).scores, opened.ask(x[:1]).scores
        assert served.total == 4
        other = open_endpoint(channel(served), tmp_path / "t.db")
        replayed = np.concatenate([other.ask(x[:2]).scores, other.ask(x[:2]).scores])
        assert served.total == 4
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 4
    np.testing.assert_array_equal(replayed, np.concatenate([first, second]))


def test_the_budget_is_spent_to_the_last_record_and_can_be_raised(tmp_path: Path) -> None:
    x = records(12)
    with Served() as served:
        opened = open_endpoint(channel(served, budget=10), tmp_path / "t.db")
        with pytest.raises(BudgetSpent) as caught:
            opened.ask(x)
        assert (caught.value.sent, caught.value.limit, served.total) == (10, 10, 10)
        assert "10" in str(caught.value)
        open_endpoint(channel(served, budget=12), tmp_path / "t.db").ask(x)
        assert set(served.asked.values()) == {1}
    assert Transcript(tmp_path / "t.db").counts()["sent"] == 12


def _campaign(way: Channel, path: Path, x: np.ndarray, results: Any) -> None:
    try:
        scores = open_endpoint(way, path).ask(x).scores
        results.put(scores.tolist())
    except BudgetSpent as spent:
        results.put(spent.sent)


def _in_two_processes(way: Channel, path: Path, x: np.ndarray) -> list[Any]:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    both = [context.Process(target=_campaign, args=(way, path, x, results)) for _ in range(2)]
    for process in both:
        process.start()
    found = [results.get(timeout=60) for _ in both]
    for process in both:
        process.join()
    return found


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_share_the_work_and_ask_nothing_twice(tmp_path: Path) -> None:
    x = records(40)
    with Served(slow_s=0.02) as served:
        found = _in_two_processes(channel(served), tmp_path / "t.db", x)
        assert served.total == 40
        assert set(served.asked.values()) == {1}
    for scores in found:
        np.testing.assert_allclose(scores, probabilities(x), atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_budget_is_exact_for_two_processes(tmp_path: Path) -> None:
    with Served(slow_s=0.01) as served:
        way = channel(served, budget=23)
        assert _in_two_processes(way, tmp_path / "t.db", records(40)) == [23, 23]
        assert served.total == 23
        assert set(served.asked.values()) == {1}


def test_refusals_are_waited_out_and_cost_nothing(tmp_path: Path) -> None:
    with Served(a_second=4) as served:
        open_endpoint(channel(served, retries=0), tmp_path / "t.db").ask(records(20))
        assert served.refused > 0
        assert set(served.asked.values()) == {1}
    counts = Transcript(tmp_path / "t.db").counts()
    assert counts["refusals"] == served.refused
    assert counts["sent"] == 20
    assert counts["waited"] > 0


def test_the_own_rate_is_kept(tmp_path: Path) -> None:
    with Served() as served:
        opened = open_endpoint(channel(served, rate_per_s=20.0, batch=64), tmp_path / "t.db")
        start = time.monotonic()
        opened.ask(records(26))
        # A burst of one second's records is let through at first.
        assert 0.9 < time.monotonic() - start < 5


@pytest.mark.parametrize("status", [413, 400])
def test_requests_that_are_too_large_are_halved(status: int, tmp_path: Path) -> None:
    with Served(most=3, too_large=status) as served:
        way = channel(served, batch=16, budget=32)
        open_endpoint(way, tmp_path / "t.db").ask(records(16))
        assert set(served.asked.values()) == {1}
        assert len(served.bodies) < 16
        assert Transcript(tmp_path / "t.db").counts()["sent"] == 16
        # The next one knows how many it takes.
        before = len(served.bodies)
        open_endpoint(way, tmp_path / "t.db").ask(records(16, seed=1))
        assert len(served.bodies) == before + 8


@pytest.mark.parametrize("status", [502, 503, 504])
def test_failures_that_pass_are_tried_again(status: int, tmp_path: Path) -> None:
    with Served() as served:
        served.script.extend([(status, {"Retry-After": "0.05"}, b"no")] * 2)
        opened = open_endpoint(channel(served, "mlflow"), tmp_path / "t.db")
        assert opened.ask(records(3)).scores is not None
        assert served.total == 3
    counts = Transcript(tmp_path / "t.db").counts()
    # Whether 502 and 504 were answered is not known: they count.
    assert counts["sent"] == (3 if status == 503 else 9)
    assert counts["retries"] == 2


def test_replies_that_come_too_late_count_each_time(tmp_path: Path) -> None:
    with Served(slow_s=0.6) as served:
        way = channel(served, "mlflow", timeout_s=0.2, retries=1, budget=5)
        with pytest.raises(UserError, match="timeout_s"):
            open_endpoint(way, tmp_path / "t.db").ask(records(2))
    assert Transcript(tmp_path / "t.db").counts()["sent"] == 4


def test_a_content_type_that_lies_is_read_all_the_same(tmp_path: Path) -> None:
    with Served(content_type="text/html") as served:
        scores = open_endpoint(channel(served), tmp_path / "t.db").ask(records(2)).scores
    np.testing.assert_allclose(scores, probabilities(records(2)), atol=1e-6)


def test_labels_alone_are_labels(tmp_path: Path) -> None:
    with Served(labels=True) as served:
        answered = open_endpoint(channel(served), tmp_path / "t.db").ask(records(9))
    assert answered.scores is None
    np.testing.assert_array_equal(answered.labels, probabilities(records(9)).argmax(axis=1))


def test_the_classes_of_the_columns_come_with_the_first_answer(tmp_path: Path) -> None:
    with Served() as served:
        way = channel(served, "one")
        first, waiting = (open_endpoint(way, tmp_path / "t.db") for _ in range(2))
        for opened in (first, waiting, open_endpoint(way, tmp_path / "t.db")):
            assert opened.ask(records(1)).classes == ("a", "b", "c")
        assert served.total == 1


def test_endpoints_are_told_apart(tmp_path: Path) -> None:
    x = records(3)
    with Served() as served, Served(digits=1) as other:
        full = open_endpoint(channel(served), tmp_path / "t.db").ask(x).scores
        rounded = open_endpoint(channel(other), tmp_path / "t.db").ask(x).scores
    assert not np.array_equal(full, rounded)


@pytest.mark.parametrize("name", ["SERVICE_TOKEN", "HARMLESS"])
def test_secrets_are_sent_and_nowhere_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    said = {"error": f"bad: {SECRET} {SECRET.split()[1]}"}
    texts = []
    with Served() as served:
        way = channel(served, "mlflow", headers={"Authorization": name}, retries=0)
        opened = open_endpoint(way, tmp_path / "t.db")
        opened.ask(records(2))
        assert served.headers[0]["Authorization"] == SECRET
        texts += [repr(opened.facts), repr(opened.classes)]
        for status in (200, 302, 400, 401, 404, 413, 500):
            body = str(said).replace("'", '"').encode()
            served.script.append((status, {"Location": f"https://x.test/?t={SECRET}"}, body))
            with pytest.raises(UserError) as caught:
                opened.ask(records(1, seed=status))
            texts.append(str(caught.value))
            assert caught.value.__cause__ is None
        served.script.append((200, {}, f'{{"predictions": ["{SECRET}"]}}'.encode()))
        opened.ask(records(1, seed=7))
        for file in tmp_path.iterdir():
            texts.append(file.read_bytes().decode("latin-1"))
    for text in texts:
        assert "swordfish" not in text
    assert any("Authorization" in text for text in texts)


def test_records_are_not_kept(tmp_path: Path) -> None:
    asked = table()
    asked.loc[0, "city"] = "Rome"
    with Served() as served:
        open_endpoint(channel(served, "many"), tmp_path / "t.db").ask(asked)
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"Rome" not in kept
    assert asked["age"].to_numpy()[:1].tobytes() not in kept


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:5000/x", True),
        ("http://127.3.2.1", True),
        ("http://[::1]:80/", True),
        ("http://[::ffff:127.0.0.1]/", True),
        ("https://10.0.0.1/", False),
        ("https://no-such-host.invalid/", False),
        ("http://[::1/score", False),
    ],
)
def test_loopback(url: str, expected: bool) -> None:
    assert loopback(url) is expected
