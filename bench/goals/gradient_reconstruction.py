"""G5: a client's records are rebuilt from the updates that it shares."""

from bench.contract.goals import Goal, StandardSet, Words

GOAL = Goal(
    name="gradient_reconstruction",
    judge="bench.metrics.gradient_reconstruction",
    victims="clients",
    baselines=("mean_image", "public_marginals"),
    standard=(
        StandardSet(
            "standard-images-gradients-1",
            "image",
            "gradients",
            (
                ("analytic_gradient", {}),
                ("analytic_gradient", {"batch_size": 8}),
                ("spear", {"batch_size": 8}),
                ("inverting_gradients", {}),
                ("masked_matching", {}),
                ("sign_matching", {}),
                ("prior_matching", {"rounds": 16}),
            ),
        ),
        StandardSet(
            "standard-tables-gradients-1",
            "table",
            "gradients",
            (
                ("analytic_gradient", {}),
                ("analytic_gradient", {"batch_size": 8}),
                ("spear", {"batch_size": 8}),
                ("tableak", {}),
            ),
        ),
        StandardSet(
            "standard-images-malicious_server-1",
            "image",
            "malicious_server",
            (
                ("imprint", {"batch_size": 8, "inconsistent": True}),
                ("imprint", {"batch_size": 32, "rounds": 3}),
                ("trap_rounds", {}),
                ("fishing", {"batch_size": 8}),
                ("fishing", {"batch_size": 32}),
            ),
        ),
        StandardSet(
            "standard-tables-malicious_server-1",
            "table",
            "malicious_server",
            (
                ("imprint", {"batch_size": 8, "inconsistent": True}),
                ("imprint", {"batch_size": 32, "rounds": 3}),
            ),
        ),
    ),
    words=Words(
        code="G5",
        title="Records behind shared updates",
        question="Can someone rebuild a client's records from the updates it shares?",
        event="a client's records are rebuilt from shared updates",
        pictures="the clients' own pictures, and what was rebuilt",
    ),
)
