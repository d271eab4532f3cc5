"""After an alarm: the record of an incident, and the inventory that a team keeps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.results import settings
from bench.contract.errors import nearest, require

if TYPE_CHECKING:
    from bench.decide.incident import Affected, Incident
    from bench.decide.inventory import Kept
    from bench.decide.registry import Entry
    from bench.engine.audit import Audit
    from bench.engine.settings import Settings

Words = Sequence[str]


def incident(
    audit: Audit,
    folder: Path,
    *,
    model: str = "",
    evidence: Sequence[str] = (),
    aware: datetime | None = None,
    words: Words = (),
    config_dir: Path | None = None,
) -> tuple[Incident, Path, int | None]:
    """Record an incident, and mark the model's evidence in the registry as expired.

    Args:
        audit: of :func:`audit`.
        folder: where ``incident.json``, ``incident.html`` and ``incident.md`` go.
        model: its description (a YAML file, as for :func:`gate`), or its name in the registry;
            empty: not known.
        evidence: packs, suites or executions; none: those that ``model`` names.
        aware: the moment from which deadlines run; without a time zone it is of this machine's;
            None: now.
        words: overrides; ``tracking=none`` leaves the registry alone.
        config_dir: a folder with a user's own options.

    Returns:
        The record, its page, and how many versions of the model were marked; None: none could be,
        because the model is not named or MLflow is switched off.

    Raises:
        UserError: no account was flagged, or model, evidence or folder cannot be used.
    """
    from bench.decide import duties, incident_page, registry
    from bench.decide import evidence as reading
    from bench.decide import incident as recording
    from bench.exchange import sources

    require(
        bool(model) or not evidence,
        "--evidence says nothing without the model's data, architecture and defense; name its "
        "description with --model.",
    )
    chosen = settings(words, config_dir)
    moment = (aware or datetime.now(UTC)).replace(microsecond=0)
    moment = moment if moment.tzinfo else moment.astimezone()
    affected, place, named = _affected(model, chosen)
    read = reading.read([sources.load(name, chosen) for name in [*(evidence or named)]])
    scenario = reading.scenario(read, *place) if read else None
    about = reading.about(read, scenario) if scenario else []
    dues = duties.due(duties.load(), affected.sector, moment)
    record = recording.incident(audit, affected, about, scenario, [*dues], moment)
    page = incident_page.write(record, folder)
    marks = affected.name and chosen.tracking.name == "mlflow"
    marked = registry.mark(chosen.tracking.uri, affected.name, moment) if marks else None
    return record, page, marked


def _affected(model: str, chosen: Settings) -> tuple[Affected, tuple[str, str], list[str]]:
    """The model; its data set and architecture in the evidence; and that evidence's names."""
    from bench.decide import deployed, registry
    from bench.decide.incident import Affected

    if not model:
        return Affected(), ("", ""), []
    if model.endswith((".yaml", ".yml")):
        path = Path(model)
        m = deployed.load(path)
        names = [str(at) if (at := path.parent / n).exists() else n for n in m.evidence]
        return (
            Affected(
                m.name,
                m.defense.name,
                m.exposure.effective,
                m.tier,
                m.data.sector,
                tuple(m.exposure.weights_shared_with),
                m.incident_contact,
                model,
            ),
            (m.data.dataset, m.model),
            names,
        )
    require(
        chosen.tracking.name == "mlflow",
        f"--model {model} is looked up in MLflow's registry; leave out tracking=none, or name the "
        "model's description, a .yaml file.",
    )
    registered = registry.versions(chosen.tracking.uri)
    known = [entry for entry in registered if entry.name == model]
    require(
        bool(known),
        f"The registry has no assessed model '{model}'."
        f"{nearest(model, {e.name for e in registered})} "
        "A description (a .yaml file) can be named too.",
    )
    entry = known[-1]
    return (
        Affected(
            entry.name,
            entry.get("defense_id"),
            entry.get("access_exposed"),
            entry.get("tier"),
            entry.get("sector"),
            tuple(filter(None, entry.get("weights_shared_with").split("; "))),
            entry.get("incident_contact"),
        ),
        (entry.get("dataset"), entry.get("model")),
        list(filter(None, entry.get("evidence").split("; "))),
    )


def kept(
    path: Path, words: Words = (), config_dir: Path | None = None
) -> tuple[list[Kept], list[Entry] | None, list[str]]:
    """The inventory that a team keeps in a YAML file, beside the registry.

    Args:
        path: the file.
        words: overrides; ``tracking=none`` leaves the registry out.
        config_dir: a folder with a user's own options.

    Returns:
        Its models; the registry's, None where MLflow is switched off; and where they differ.

    Raises:
        UserError: a file cannot be read, or the registry cannot be reached.
    """
    from bench.decide import inventory, registry

    models, tracking = inventory.load(path), settings(words, config_dir).tracking
    if tracking.name != "mlflow":
        return models, None, []
    entries = registry.versions(tracking.uri)
    return models, entries, inventory.differences(models, entries)
