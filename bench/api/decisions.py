"""What a security lead asks: which defense, and whether a model may be released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.results import settings
from bench.contract.errors import require

if TYPE_CHECKING:
    from datetime import date

    from bench.decide.decision import Decision
    from bench.decide.evidence import Source
    from bench.decide.policy import Bars, Policy
    from bench.decide.registry import Entry
    from bench.decide.verdict import Judgement
    from bench.engine.audit import Audit
    from bench.exchange.pack import Pack

Words = Sequence[str]


def recommend(
    *names: str,
    access: Any,
    dataset: str = "",
    model: str = "",
    tier: str = "",
    bars: Mapping[str, float] | None = None,
    epsilon_required: bool = False,
    federated: bool = False,
    query_cap: int | None = None,
    needs_scores: bool = False,
    policy: str = "default",
    words: Words = (),
    config_dir: Path | None = None,
) -> Decision:
    """The default defense of a deployment, by the evidence (PROTOCOL 8.1).

    Args:
        *names: packs, suites or executions: the evidence.
        access: what customers get: ``labels``, ``scores``, ``weights``, ``gradients`` or
            ``malicious_server``.
        dataset: where the evidence holds several.
        model: where the evidence holds several.
        tier: bars of the policy for a class of data: ``T1``, ``T2`` or ``T3``.
        bars: bars of one's own instead: ``tau``, ``mu`` and ``loss``.
        epsilon_required: only what is differentially private.
        federated: whether clients share gradients or updates.
        query_cap: most queries that are answered.
        needs_scores: whether the application uses scores, not labels only.
        policy: name or path of a policy.
        words: overrides; ``store=`` says where suites are.
        config_dir: a folder with a user's own options.

    Raises:
        UserError: the evidence or the bars cannot be used.
    """
    from bench.decide import evidence
    from bench.decide import policy as policies
    from bench.exchange import sources
    from bench.exchange.signatures import signers_file

    require(bool(names), "Name the evidence: a pack, a suite or an execution.")
    rules = policies.load(policy)
    wanted = policies.bars_of(rules, tier, bars or {})
    if epsilon_required:
        epsilon = wanted.epsilon.model_copy(update={"rule": "required"})
        wanted = wanted.model_copy(update={"epsilon": epsilon})
    chosen = settings(words, config_dir)
    packs = [sources.load(name, chosen) for name in names]
    return recommend_by(
        packs,
        evidence.read(packs, signers_file()),
        access,
        rules,
        wanted,
        tier,
        dataset=dataset,
        model=model,
        federated=federated,
        query_cap=query_cap,
        needs_scores=needs_scores,
        words=words,
        config_dir=config_dir,
    )


def recommend_by(
    packs: Sequence[Pack],
    read: Sequence[Source],
    access: Any,
    rules: Policy,
    wanted: Bars,
    tier: str = "",
    *,
    dataset: str = "",
    model: str = "",
    federated: bool = False,
    query_cap: int | None = None,
    needs_scores: bool = False,
    words: Words = (),
    config_dir: Path | None = None,
) -> Decision:
    """What :func:`recommend` says, by evidence that was read already.

    Args:
        packs: the evidence.
        read: what they say.
        access: what customers get.
        rules: the policy.
        wanted: bars.
        tier: that they are of; empty: one's own.
        dataset: where the evidence holds several.
        model: where the evidence holds several.
        federated: whether clients share gradients or updates.
        query_cap: most queries that are answered.
        needs_scores: whether the application uses scores.
        words: overrides, for commands that are shown.
        config_dir: a folder with a user's own options.

    Raises:
        UserError: the evidence cannot be used.
    """
    from bench.decide import candidates, evidence, further
    from bench.decide import recommend as rule

    runs = {pack.suite: further.run_of(pack, config_dir) for pack in packs}
    further.check_model(read, runs, dataset, model, words)
    scenario = evidence.scenario(read, dataset, model)
    question = candidates.Question(
        scenario,
        access,
        wanted,
        tier,
        rule.asked(rules, scenario, access, federated),
        query_cap,
        needs_scores,
        rules.seeds.ranked,
        rules.one_target,
    )
    return rule.decide(read, question, policy=rules, runs=runs, more=words)


def gate(
    policy: str,
    described: Path,
    today: date | None = None,
    words: Words = (),
    config_dir: Path | None = None,
    signers: Path | None = None,
    registered: bool = False,
) -> Judgement:
    """Judge a model before its release (PROTOCOL 8.3).

    Args:
        policy: name or path of a policy.
        described: the YAML file that describes the model; the packs it names may lie beside it.
        today: the day to judge on; None: today.
        words: overrides; ``store=`` says where suites are.
        config_dir: a folder with a user's own options.
        signers: file of the keys whose signatures are trusted; None: the policy's, else that of
            ``INVBENCH_SIGNERS``.
        registered: whether incidents in MLflow's registry count besides those of the description.

    Raises:
        UserError: the description, the policy or the evidence cannot be used.
    """
    from datetime import date, datetime

    from bench.decide import deployed, evidence
    from bench.decide import gate as judging
    from bench.decide import policy as policies
    from bench.exchange import sources
    from bench.exchange.signatures import signers_file

    rules, model = policies.load(policy), deployed.load(described)
    keys = signers_file(signers or (Path(rules.signers) if rules.signers else None))
    rules = rules.model_copy(update={"signers": str(keys or "")})
    chosen = settings(words, config_dir)
    names = [
        str(path) if (path := described.parent / name).exists() else name for name in model.evidence
    ]
    if registered:
        from bench.decide import registry

        past = registry.incidents(chosen.tracking.uri, model.name)
        moments = {*model.incidents, *map(datetime.fromisoformat, past)}
        model = model.model_copy(update={"incidents": sorted(moments)})
    read = evidence.read([sources.load(name, chosen) for name in names], keys)
    day = today or date.today()  # noqa: DTZ011  a day is meant as people at the place mean it
    return judging.judge(read, model, rules, day, deployed.digest(model.artifact))


def register(
    outcome: Judgement, files: Mapping[str, str], words: Words = (), config_dir: Path | None = None
) -> tuple[str, bool]:
    """Put a judged model into MLflow's Model Registry.

    Args:
        outcome: of :func:`gate`.
        files: its assessment, by file name.
        words: overrides; ``tracking.uri=`` says where MLflow is.
        config_dir: a folder with a user's own options.

    Returns:
        The version, and whether it is new.

    Raises:
        UserError: MLflow is switched off or cannot be reached.
    """
    from bench.decide import registry

    require_mlflow(words, config_dir)
    return registry.register(settings(words, config_dir).tracking.uri, outcome, files)


def require_mlflow(words: Words = (), config_dir: Path | None = None) -> None:
    """Refuse to go on where MLflow is switched off.

    Raises:
        UserError: it is.
    """
    require(
        settings(words, config_dir).tracking.name == "mlflow",
        "--register needs MLflow; leave out tracking=none.",
    )


def inventory(today: date, words: Words = (), config_dir: Path | None = None) -> list[Entry]:
    """The models that were registered, those that have expired first.

    Args:
        today: the day to look on.
        words: overrides; ``tracking.uri=`` says where MLflow is.
        config_dir: a folder with a user's own options.

    Raises:
        UserError: MLflow is switched off or cannot be reached.
    """
    from bench.decide import registry

    tracking = settings(words, config_dir).tracking
    require(tracking.name == "mlflow", "The inventory is in MLflow; leave out tracking=none.")
    return registry.inventory(tracking.uri, today)


def audit(
    log: str | Path,
    benign: str | Path | None = None,
    detectors: Sequence[str] = (),
    fpr: float = 0.01,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_unit: str | None = None,
    path_prefix: str = "",
) -> Audit:
    """Look for accounts that probe in a log of queries.

    Args:
        log: a row a query; ``-`` is standard input.
        benign: log of accounts known to be benign; None: calibrated on all accounts of ``log``.
        detectors: their names; none: all that the log allows.
        fpr: benign accounts that each detector flags, at most; without ``benign`` an aim.
        format: ``csv``, ``jsonl``, ``parquet``, ``kserve``, ``v2``, ``mlflow``, ``seldon``,
            ``nginx`` or ``uvicorn``, of both logs; None: by their endings.
        columns: name of the column for a role, such as ``{"account": "user_id"}``, in both logs.
        time_unit: of times that are numbers: ``s``, ``ms``, ``us`` or ``ns``; None: by their size.
        path_prefix: how the paths begin that ask the model, in access logs.

    Raises:
        UserError: a log cannot be read, or a detector is unknown.
    """
    from bench.engine.audit import audit as look

    return look(
        log,
        benign,
        detectors,
        fpr,
        form=format,
        columns=columns,
        time_unit=time_unit,
        path_prefix=path_prefix,
    )
