"""G5: a client's records are rebuilt from the updates that it shares."""

from bench.contract.goals import Goal, Words

GOAL = Goal(
    name="gradient_reconstruction",
    judge="bench.metrics.gradient_reconstruction",
    victims="clients",
    baselines=("mean_image", "public_marginals"),
    words=Words(
        code="G5",
        question="Can a client's records be rebuilt from the updates that it shares?",
        event="a client's records are rebuilt from shared updates",
        pictures="the clients' own pictures, and what was rebuilt",
    ),
)
