"""Boards of a budget: what an attacker reaches who may ask only so much."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest
from built import built, row, scored
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract.record import TrialRecord
from bench.exchange import compare, recheck
from bench.report import audits, boards, families, frame, site, tables
from tests.report import fake_records as fake


def capped(
    defense: str,
    attack: str,
    leaks: list[float | None],
    cap: int | None,
    queries: int | None = None,
) -> list[TrialRecord]:
    """Face trials of an attack with a cap that sent so many queries."""
    out = []
    for record in scored(defense, attack, leaks):
        name = attack if cap is None else f"{attack.rstrip(']')}{',' if '[' in attack else '['}"
        name += "" if cap is None else f"budget={cap}]"
        sent = (cap or 3000) if queries is None else queries
        out.append(
            record.model_copy(
                update={
                    "trial_id": f"{record.trial_id}-{cap}",
                    "cell": record.cell.model_copy(update={"attack": name}),
                    "budget": record.budget.model_copy(
                        update={"queries_cap": cap, "queries": sent}
                    ),
                }
            )
        )
    return out


def suite(seeds: int = 3) -> list[TrialRecord]:
    """Two data sets, of which one was attacked with budgets too."""
    found = fake.build(seeds)
    for defense, leak in (("none", 0.2), ("freezing", 0.15), ("dropout", 0.18)):
        for cap, factor in ((100, 0.3), (1000, 0.7)):
            leaks: list[float | None] = [factor * (leak + 0.01 * seed) for seed in range(seeds)]
            found += capped(defense, "yang", leaks, cap)
            found += capped(defense, "brep", leaks, cap)
    return found


def test_one_board_for_each_cap_of_the_scenario_where_queries_count() -> None:
    found = built(
        capped("none", "brep", [0.5, 0.5], None),
        capped("none", "brep", [0.1, 0.2], 1000),
        capped("none", "yang", [0.3, 0.2], 100),
        capped("none", "latent[loss=ce]", [0.9, 0.9], None, 0),
    )
    assert [key[4:] for key, _ in found] == [
        ("labels", 1000),
        ("labels", math.inf),
        ("scores", 100),
        ("scores", 1000),
        ("scores", math.inf),
        ("weights", math.inf),
    ]
    assert row(found, "none", "labels", budget=1000)["L"] == pytest.approx(0.15)
    assert row(found, "none", "labels")["L"] == pytest.approx(0.5)
    assert row(found, "none", "scores", budget=100)["worst_attack"] == "yang[budget=100]"
    assert row(found, "none", "scores", budget=1000)["worst_attack"] == "yang[budget=100]"


def test_an_attack_that_asked_little_counts_whatever_its_cap() -> None:
    found = built(
        capped("none", "brep", [0.5, 0.5], None, 300),
        capped("none", "brep", [0.1, 0.2], 1000),
        capped("none", "brep", [0.0, 0.1], 100),
    )
    assert row(found, "none", "labels", budget=1000)["worst_attack"] == "brep"
    assert row(found, "none", "labels", budget=100)["worst_attack"] == "brep[budget=100]"


def test_an_attack_counts_with_all_its_seeds_or_not_at_all() -> None:
    few = capped("none", "yang", [0.9], None, 500)
    many = capped("none", "yang", [0.9, 0.1], None, 5000)[1:]
    found = built(few, many, capped("none", "yang", [0.2, 0.2], 1000))
    assert row(found, "none", "scores", budget=1000)["worst_attack"] == "yang[budget=1000]"


def test_a_trial_that_failed_is_missing_on_the_boards_of_its_cap() -> None:
    failed = [
        r.model_copy(
            update={"status": "oom", "score": None, "utility": None, "budget": type(r.budget)()}
        )
        for r in capped("none", "yang", [0.2, 0.2], 1000)
    ]
    found = built(capped("none", "brep", [0.1, 0.1], 100), failed)
    assert "missing" in row(found, "none", "scores", budget=1000)["flags"]
    assert "missing" not in row(found, "none", "scores", budget=100)["flags"]


def test_a_row_without_effect_repeats_the_undefended_one_within_the_budget() -> None:
    found = built(
        *(
            capped(defense, "brep", [0.4, 0.5], cap)
            for defense in ("none", "top_k[k=3]")
            for cap in (None, 1000)
        )
    )
    for budget in (1000, math.inf):
        mine = row(found, "top_k[k=3]", "labels", budget=budget)
        assert "no_effect" in mine["flags"]
        assert mine["L"] == row(found, "none", "labels", budget=budget)["L"]


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["brep", "yang", "mirror"]),
            st.sampled_from([None, 100, 1000]),
            st.integers(0, 3000),
            st.lists(st.floats(-0.2, 1), min_size=3, max_size=3),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda x: x[:2],
    )
)
def test_more_queries_never_leak_less(
    ran: list[tuple[str, int | None, int, list[float | None]]],
) -> None:
    found = built(
        *(
            capped("none", attack, leaks, cap, min(queries, cap or queries))
            for attack, cap, queries, leaks in ran
        )
    )
    for access in ("labels", "scores"):
        mine = found.rows[found.rows["access"] == access].sort_values("budget")
        assert mine["L_raw"].is_monotonic_increasing
        assert mine["budget"].iloc[-1:].map(math.isinf).all()


def test_names_without_the_budget() -> None:
    assert frame.bare_name("csmia[budget=1000]") == "csmia"
    assert frame.bare_name("a[x=1,budget=1000]") == "a[x=1]"
    assert frame.bare_name("a[budget=5,stream.accounts=3,x=1]") == "a[x=1]"
    assert frame.unstreamed("a[budget=5,stream.accounts=3]") == "a[budget=5]"


def test_files_carry_the_budget_where_there_is_one() -> None:
    table = frame.build(suite(), "s")
    found = boards.build(table)
    written = list(csv.DictReader(io.StringIO(tables.leaderboard_csv(found, "s"))))
    assert {r["budget"] for r in written} == {"", "100", "1000"}
    tuned = tables.csv(families.tuned(table), "s").splitlines()
    assert tuned[0].split(",")[6] == "query_budget" and "0.03" in tuned[1].split(",")
    markdown = tables.leaderboard_md(found, families.tuned(table), "s")
    assert "with access to scores, at most 1,000 queries\n" in markdown
    assert "access to scores, at most 100 queries" in tables.leaderboard_tex(found, "s")
    assert tables.csv(audits.build(table), "s").count("\n") == 1


def test_pages_lead_from_budget_to_budget(tmp_path: Path) -> None:
    site.write(suite(), {}, "s", tmp_path, {})
    start = "faces-mlp-class-representative-scores"
    page = (tmp_path / "boards" / f"{start}-1000-queries.html").read_text()
    assert "Attacker sees scores, at most 1,000 queries</p>" in page
    assert f'<a href="{start}-100-queries.html">at most 100 queries</a>' in page
    assert f'<a href="{start}.html">without limit</a>' in page
    # Another access with the same budget, or without limit where queries do not count.
    assert 'href="faces-mlp-class-representative-labels-1000-queries.html">labels</a>' in page
    assert 'href="faces-mlp-class-representative-weights.html">the weights</a>' in page
    front = (tmp_path / "index.html").read_text()
    assert f"boards/{start}-1000-queries.html" in front
    other = (tmp_path / "boards" / "diabetes-mlp-attribute-scores.html").read_text()
    assert "Budget of queries" not in other


def test_results_with_budgets_are_compared_board_by_board() -> None:
    found = compare.compare(suite(), suite())
    assert {"faces/mlp/class_representative/scores/1000 queries"} <= {
        line[0] for line in compare.lines(found, every=True)
    }
    assert any(row["budget"] is None for row in compare.data(found)["moves"])
    gone = compare.compare(suite(), fake.build(3))
    assert "faces/mlp/class_representative/scores/100 queries" in set(gone.changed["board"])


def test_every_trial_has_its_prediction_on_the_board_without_limit() -> None:
    ends = recheck.predicted(boards.build(frame.build(suite(), "s")))
    record = next(r for r in suite() if "budget=1000" in r.cell.attack)
    assert "L" in ends[recheck.place(record)]
