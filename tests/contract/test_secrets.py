from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import to_json

from bench.contract.errors import UserError
from bench.contract.identity import canonical
from bench.contract.record import TrialRecord
from bench.contract.secrets import clean, clean_text, redacted

MARK = "hunter2MARK"
LEAKS = [
    f"tracking.uri=http://jane:{MARK}@mlflow.example:5000",
    f"http://{MARK}@mlflow.example/path",
    f"postgresql+psycopg2://jane:p@{MARK}/x@db.example:5432/mlflow?sslmode=require",
    f"https://mlflow.example/api?x=1&token={MARK}&y=2",
    f"https://mlflow.example/?api_key={MARK}",
    f"https://x.blob.core.windows.net/c?sv=2024&sig={MARK}%2F",
    f"https://b.s3.amazonaws.com/k?X-Amz-Signature={MARK}",
    f"s3://AKIA:{MARK}@bucket/prefix",
    f"databricks://token:{MARK}@host",
    f"ray://jane:{MARK}@head:10001",
    f"MLFLOW_TRACKING_PASSWORD={MARK} invbench run",
    f'{{"password": "{MARK}"}}',
    f"host=db user=jane password='{MARK} more'",
    f"Authorization: Bearer {MARK}",
    f"{{'Authorization': 'Basic {MARK}'}}",
]
MEMORY = (
    "Memory on the node (IP: 10.0.0.1) was 7.8GB / 8GB (0.97), which exceeds the threshold of 0.95."
    " Top 10 memory users:\nPID\tMEM(GB)\tCOMMAND\n410728\t0.42\tray::f\n"
    f"99\t3.10\tpython train.py --patient {MARK} --lr 1\n\nRefer to the documentation: https://x.y"
)


@pytest.mark.parametrize("text", [*LEAKS, MEMORY, " ".join(MEMORY.split())])
def test_secrets_are_left_out_and_the_rest_stays(text: str) -> None:
    once = redacted(text)
    assert MARK not in once
    assert redacted(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:5000/@x and file:///home/jane/s",
        "sqlite:////tmp/store/mlflow.db",
        "attack.x.tokens=5 max_tokens=7 key=3 'secret' is what the attacker wants: token bucket",
        "https://docs.example/page?version=2&x=1",
        "mail jane@example.org: see https://docs.ray.io",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_what_a_message_says_besides_the_processes_stays() -> None:
    kept = redacted(MEMORY)
    assert "7.8GB / 8GB" in kept
    assert "Refer to the documentation" in kept
    listed = redacted(f"it died\n  PID USER COMMAND\n  12 bob sh -c {MARK}\n  13 bob top\n\nend")
    assert MARK not in listed
    assert listed.startswith("it died")
    assert listed.endswith("end")


def test_a_secret_of_the_environment_is_left_out_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", f"{MARK}%40x")
    folder = f"{tmp_path}/x.py"
    monkeypatch.setenv("PWD", str(tmp_path))
    assert redacted(folder) == folder
    assert MARK not in redacted(f"login failed for ('jane', '{MARK}%40x') and {MARK}@x")


def test_nested_data_errors_are_redacted() -> None:
    kept = clean({"a": [LEAKS[0], 3, None, True], "n": {"db_password": MARK, "L": 0.5}})
    assert MARK not in str(kept)
    assert kept["a"][1:] == [3, None, True]
    assert kept["n"]["L"] == 0.5
    assert MARK not in str(UserError(f"'{LEAKS[0]}' is wrong"))


@given(
    st.text(
        st.characters(categories=["L", "N", "P"], exclude_characters="'\"<>@/?#&;:"), min_size=1
    ),
    st.text(max_size=30),
)
def test_no_password_of_a_uri_survives(password: str, around: str) -> None:
    marked = f"Zq7{password}Zq7"
    text = redacted(f"{around} http://jane:{marked}@host/x {around}")
    assert marked not in text.replace(around, "")
    assert redacted(text) == text


PIECES = st.sampled_from(
    [
        *LEAKS,
        *LEAKS[0].split(":"),
        *["password", "passphrase", "db_password", "pa\u017fsword", "credentials", "api_key"],
        *["to\u212aen", "pwd", "PWD", "sig", "code", "://jane", "@h", "?key=", "&x-amz-y=", "="],
        *[":", "'", '"', "\\", "\n", "\u00a0", "PID", "bearer", "é"],
        MEMORY,
        MARK,
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=6).map("".join)
PLAIN = st.recursive(
    TEXTS | st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_json_text_is_cleaned_as_what_it_holds(value: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_TOKEN", f'{MARK}"é')
        for text in (canonical(value), to_json(value).decode()):
            assert json.loads(clean_text(text)) == clean(value)


def test_an_ordinary_record_is_only_looked_at() -> None:
    text = canonical({"forward_passes": 3, "cell": "a[k=1]", "source": "https://x.y/z", "s": "a@b"})
    assert clean_text(text) is text


def _fields(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _fields(part)


def test_no_field_of_a_record_is_taken_for_a_credential() -> None:
    names = sorted(set(_fields(TrialRecord)))
    assert "asked_about" in names and "sha256" in names
    assert clean(dict.fromkeys(names, "words")) == dict.fromkeys(names, "words")
