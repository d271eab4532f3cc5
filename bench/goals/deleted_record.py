"""G6: a record that was deleted on request is rebuilt from the models before and after."""

from bench.contract.goals import Goal, StandardSet, Words

GOAL = Goal(
    name="deleted_record",
    judge="bench.metrics.deleted_record",
    victims="records",
    rows="shared",
    most=16,
    baselines=("typical_record",),
    members=True,
    standard=(StandardSet("standard-tables-deletions-1", "table", "deletions", (("hrec", {}),)),),
    words=Words(
        code="G6",
        title="A deleted record",
        question="Can someone rebuild a deleted record from the models before and after?",
        event="a record is rebuilt because it was deleted",
    ),
)
