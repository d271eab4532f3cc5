from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from bench.contract import UserError
from bench.models.external.files.predictions import open_predictions
from bench.models.external.opened import Opened
from bench.models.external.rehearsal import Rehearsal
from tests.models.external.given import COLUMNS, table


def written(frame: pd.DataFrame, suffix: str) -> bytes:
    if suffix == ".csv":
        return frame.to_csv(index=False).encode()
    held = io.BytesIO()
    frame.to_parquet(held, index=False)
    return held.getvalue()


def scored() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records, and the same with the answers of a model."""
    frame, labels = table()
    p = np.linspace(0.01, 0.99, len(frame))
    return frame, frame.assign(p_no=1 - p, p_yes=p, label=labels)


def opened_of(
    frame: pd.DataFrame, suffix: str = ".csv", prediction: list[str] | None = None
) -> Opened:
    return open_predictions(written(frame, suffix), suffix, "m", COLUMNS, prediction)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_records_are_found_by_their_values(suffix: str) -> None:
    frame, answers = scored()
    opened = opened_of(answers, suffix)
    order = np.random.default_rng(0).permutation(len(frame))
    answered = opened.ask(frame.iloc[order])
    np.testing.assert_allclose(answered.scores, answers[["p_no", "p_yes"]].to_numpy()[order])
    assert list(answered.labels) == list(answers["label"].iloc[order])
    assert opened.classes == ("no", "yes")
    # The last digits of a number are lost where it goes through text.
    close = opened.ask(frame.assign(age=frame["age"] * (1 + 1e-12)))
    np.testing.assert_allclose(close.scores, answers[["p_no", "p_yes"]].to_numpy())


def test_a_column_without_a_name_is_no_answer() -> None:
    frame, answers = scored()
    content = answers[["age", "hours per week", "job", "p_no", "p_yes"]].to_csv().encode()
    opened = open_predictions(content, ".csv", "m", COLUMNS, None)
    assert opened.facts["scores"] == ["p_no", "p_yes"]
    assert opened.ask(frame).labels is None


def test_columns_with_answers_can_be_named() -> None:
    frame, answers = scored()
    opened = opened_of(answers.assign(noise=1.0), prediction=["p_yes", "p_no"])
    assert opened.classes == ("yes", "no")
    assert opened.ask(frame).labels is None
    said = opened_of(answers.rename(columns={"label": "said"}), prediction=["said"]).ask(frame)
    assert said.scores is None
    assert list(said.labels) == list(answers["label"])
    one = opened_of(answers, ".parquet", prediction=["p_yes"])
    assert one.ask(frame).scores.shape == (len(frame), 1)
    assert one.classes == ()
    with pytest.raises(UserError, match="p_maybe"):
        opened_of(answers, prediction=["p_maybe"])


def test_records_without_an_answer_are_counted() -> None:
    frame, answers = scored()
    opened = opened_of(answers.iloc[:-2])
    frame.loc[frame.index[-2:], "job"] = "imprisoned"
    with pytest.raises(UserError, match="2 of 60") as caught:
        opened.ask(frame)
    assert "imprisoned" not in str(caught.value)


def test_one_record_has_one_answer() -> None:
    _, answers = scored()
    twice = pd.concat([answers, answers.iloc[:1]])
    assert opened_of(twice).facts["records"] == len(answers)
    with pytest.raises(UserError, match="two ways"):
        opened_of(pd.concat([answers, answers.iloc[:1].assign(p_yes=0.5)]))
    with pytest.raises(UserError, match="two ways"):
        opened_of(pd.concat([answers, answers.iloc[:1].assign(label="other")]))


def test_tables_that_cannot_be_used_are_refused() -> None:
    frame, answers = scored()
    for wrong, word in (
        (frame, "answers"),
        (answers.drop(columns="age"), "age"),
        (answers.assign(age="old"), "age"),
        (answers.assign(p_yes=answers["p_yes"].where(answers.index > 2)), "p_yes"),
        (answers.assign(label=answers["label"].where(answers.index > 2)), "label"),
        (answers.iloc[:0], "rows"),
    ):
        with pytest.raises(UserError, match=word):
            opened_of(wrong)
    with pytest.raises(UserError, match="columns"):
        opened_of(answers).ask(np.zeros((2, 3), np.float32))
    with pytest.raises(UserError, match="job"):
        opened_of(answers).ask(frame.drop(columns="job"))
    for suffix in (".csv", ".parquet"):
        with pytest.raises(UserError):
            open_predictions(b"PAR1\xff\xfe", suffix, "m", COLUMNS, None)


@pytest.mark.parametrize("read_again", [False, True])
@pytest.mark.parametrize("gap", [False, True])
def test_what_was_asked_of_a_stand_in_is_found_in_the_answers(gap: bool, read_again: bool) -> None:
    """Categories that are numbers, as pandas writes and reads them."""
    asked = pd.DataFrame({"age": [63.5, 40.0], "sex": [1.0, np.nan] if gap else [1, 2]})
    stand_in = Rehearsal()
    stand_in.scores(asked[:1])
    stand_in.scores(asked)
    rows = stand_in.rows()
    assert len(rows) == len(stand_in.asked) == 2
    if read_again:
        rows = pd.read_csv(io.StringIO(rows.to_csv(index=False)))
    content = rows.assign(p_no=0.25, p_yes=[0.75, 0.5]).to_csv(index=False).encode()
    kinds = {"age": "number", "sex": "category"}
    opened = open_predictions(content, ".csv", "m", kinds, None)
    assert opened.ask(asked).scores[:, 1].tolist() == [0.75, 0.5]


def test_texts_that_end_like_numbers_are_told_apart() -> None:
    frame = pd.DataFrame({"job": ["v1.0", "v1", "2.5", "2"], "p_no": 0.5, "p_yes": [0, 1, 2, 3]})
    opened = open_predictions(written(frame, ".csv"), ".csv", "m", {"job": "category"}, None)
    assert opened.ask(frame).scores[:, 1].tolist() == [0, 1, 2, 3]
