"""What a campaign against one model found, as plain data and as a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from bench.decide.campaign_rows import Row
from bench.decide.decision import Decision
from bench.decide.document import Block, Code, Document, Drawn, Points, Section, Table
from bench.report.frame import UNDEFENDED
from bench.report.text import interval, leakage, leaks, number

_SHOWN_ROWS = 12


@dataclass(frozen=True)
class Campaign:
    """What was found out about one model.

    Attributes:
        name: of the campaign.
        model: as boards call it.
        dataset: the same of the data.
        access: what the attacker was given.
        target: digest of the model that was attacked.
        started: when, UTC.
        given: what was found out about its inputs and answers.
        members_known: whether it is known who was trained on.
        victims: members that were attacked in a seed.
        rows: one for each attack on the model as it is, the one that leaks most first.
        defenses: one for each defense before it and goal, the one that leaks least first.
        groups: gain over guessing in each subgroup by the strongest attack, the largest first.
        exposed: how many victims the private file names, and how many of them for certain.
        sent: what an endpoint was asked; empty for files.
        unfinished: why trials did not end, with their number.
        decision: what the decision rule says of it; None: the evidence allows none.
        undecided: why there is no decision.
        compared: the same attacks in the last campaign, and whether the change is clear.
        against: name of that campaign.
        copies: L of the same attacks on retrained copies, with mean and standard deviation.
        stand_in: as ``defenses``, of a model of ours that was trained behind defenses of training.
        failed: why ``copies`` or ``stand_in``, which were asked for, are not there, by their name.
    """

    name: str
    model: str
    dataset: str
    access: str
    target: str
    started: str
    given: Mapping[str, Any]
    members_known: bool
    victims: int
    rows: Sequence[Row]
    defenses: Sequence[Row]
    groups: Mapping[str, float] = field(default_factory=dict)
    exposed: Mapping[str, int] = field(default_factory=dict)
    sent: Mapping[str, Any] = field(default_factory=dict)
    unfinished: Mapping[str, int] = field(default_factory=dict)
    decision: Decision | None = None
    undecided: str = ""
    compared: Sequence[Row] = ()
    against: str = ""
    copies: Sequence[Row] = ()
    stand_in: Sequence[Row] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def keeps(self) -> bool:
        """Whether the model as it is keeps all bars, with every trial ended."""
        if self.decision is None or self.unfinished:
            return False
        return any(c.defense == UNDEFENDED for c in self.decision.admissible)

    @property
    def chosen(self) -> str | None:
        """The row that is recommended, with every trial ended; None: there is none."""
        if self.decision is None or self.decision.chosen is None or self.unfinished:
            return None
        return self.decision.chosen.defense


def data(campaign: Campaign) -> dict[str, Any]:
    """A campaign as JSON takes it."""
    decision = campaign.decision
    return {
        "redteam": 1,
        **{
            field.name: getattr(campaign, field.name)
            for field in fields(campaign)
            if field.name not in ("decision", "undecided")
        },
        "keeps": campaign.keeps,
        "why_not": _against(decision),
        "recommended": campaign.chosen,
        "because": campaign.undecided if decision is None else decision.because,
        "tier": "" if decision is None else decision.question.tier,
    }


def verdict(campaign: Campaign) -> tuple[str, str]:
    """The outcome in a few words, and its tone."""
    if campaign.unfinished:
        return "The campaign is not finished.", "bad"
    if campaign.decision is None:
        return "Nothing can be decided.", "warn"
    if campaign.keeps:
        return "The model keeps every bar as it is.", "good"
    return "The model is not shown to keep every bar.", "bad"


def document(campaign: Campaign, private: str = "") -> Document:
    """What to say of a campaign.

    Args:
        campaign: what was found.
        private: where the most exposed records are named; empty: nowhere.
    """
    words, tone = verdict(campaign)
    return Document(
        campaign.model,
        f"Red team: campaign {campaign.name}",
        words,
        tone,
        _lead(campaign),
        _facts(campaign),
        list(_sections(campaign, private)),
        "L: 0 is what an attacker without the model reaches, 1 is the records themselves. M: how "
        "much of it is about members. Intervals (95 %) are over people and over the attacks' own "
        "seeds: they hold for this one model.",
    )


def answers(given: Mapping[str, Any]) -> str:
    """What a model answers, as far as its answers show it."""
    found = [str(given.get("answers", "outputs"))]
    if given.get("digits") is not None:
        found.append(f"rounded to {given['digits']} decimals")
    if given.get("top_k") is not None:
        found.append(f"the {given['top_k']} largest alone")
    return ", ".join(found)


def _lead(campaign: Campaign) -> str:
    if not campaign.rows:
        return "No attack ended."
    worst = campaign.rows[0]
    if worst["L_lo"] is None:
        meaning = "too few people were attacked to say how sure that is."
    elif worst["L_lo"] > 0:
        meaning = "the model gives away more than is known without it."
    else:
        meaning = "the model is not shown to give away more than is known without it."
    return (
        f"The strongest attack, {worst['attack']} ({_spaced(worst['goal'])} with "
        f"{worst['access']}), reaches {leaks(_leakage(worst))}: {meaning}"
    )


def _facts(campaign: Campaign) -> list[tuple[str, str]]:
    given, facts = campaign.given, [("Data", campaign.dataset)]
    facts.append(("Access", f"an attacker gets {campaign.access}"))
    facts.append(("Attacked", f"{campaign.victims:,} people and as many others in every seed"))
    facts.append(("Answers", answers(given)))
    if campaign.sent:
        sent = campaign.sent
        facts.append(
            (
                "Endpoint",
                f"{sent.get('sent', 0):,} records sent, {sent.get('recalled', 0):,} answers from "
                f"the transcript, {sent.get('refusals', 0):,} refusals (429)",
            )
        )
    if campaign.decision is not None:
        bars = campaign.decision.question.bars
        tier = campaign.decision.question.tier
        facts.append(
            (
                "Bars",
                f"{f'tier {tier}: ' if tier else ''}L at most {bars.tau:g}, M at most "
                f"{bars.mu:g}, utility loss at most {bars.loss:g}",
            )
        )
    file = given.get("file_sha256")
    facts.append(("File", f"sha256 {file}") if file else ("Model", campaign.target[:16]))
    return facts


def _sections(campaign: Campaign, private: str) -> Sequence[Section]:
    out = [Section("How much leaks", [_attack_table(campaign)])]
    people = _people(campaign, private)
    if people:
        out.append(Section("Of whom", people))
    if campaign.defenses:
        out.append(Section("What to put in front of this model", _defenses(campaign)))
    if campaign.compared:
        out.append(Section(f"Since campaign {campaign.against}", [_changes(campaign)]))
    for name, title, shown in (
        ("copies", "Over retrained copies", _copies),
        ("stand_in", "Defenses of training, on a stand-in", _stand_in),
    ):
        if name in campaign.failed:
            out.append(Section(title, [f"They are not there: {campaign.failed[name]}"]))
        elif getattr(campaign, name):
            out.append(Section(title, shown(campaign)))
    out.append(Section("What to do", _steps(campaign)))
    out.append(Section("What this does not show", [Points(_limits(campaign))]))
    return out


def _attack_table(campaign: Campaign) -> Block:
    bar = math.nan if campaign.decision is None else campaign.decision.question.bars.tau
    rows = [
        [
            row["attack"],
            _spaced(row["goal"]),
            row["access"],
            _drawn(row, bar),
            _figure(row, "M") if campaign.members_known else "not known",
            f"{row['queries'] or 0:,.0f}",
        ]
        for row in campaign.rows[:_SHOWN_ROWS]
    ]
    more = len(campaign.rows) - len(rows)
    return Table(
        ["Attack", "Goal", "Access", "L", "M", "Queries"],
        rows,
        f"The JSON has {more} more, which are weaker." if more > 0 else "",
    )


def _people(campaign: Campaign, private: str) -> list[Block]:
    out: list[Block] = []
    if campaign.exposed:
        count, certain = campaign.exposed["victims"], campaign.exposed["certain"]
        out.append(
            f"Of {count:,} people attacked, the strongest attack on an attribute counts as certain "
            f"of {certain:,} in at least one seed."
            + (f" '{private}' names all of them and is for you alone." if private else "")
        )
    if campaign.groups:
        rows = [[name, number(gain, 3, True)] for name, gain in list(campaign.groups.items())[:6]]
        out.append(
            Table(
                ["Subgroup", "Gain over guessing"],
                rows,
                "The largest of several gains is biased upwards.",
            )
        )
    return out


def _defenses(campaign: Campaign) -> list[Block]:
    bar = math.nan if campaign.decision is None else campaign.decision.question.bars.tau
    rows = [
        [
            f"{row['defense']}{' (recommended)' * (row['defense'] == campaign.chosen)}",
            _spaced(row["goal"]),
            _drawn(row, bar),
            _figure(row, "M") if campaign.members_known else "not known",
            number(row["utility"], 3),
            _figure(row, "dU", 3, True),
        ]
        for row in campaign.defenses
    ]
    return [
        Table(["Defense", "Goal", "L", "M", "Utility", "Change of utility"], rows),
        "Defenses that act on training were not measured: this model was not trained here.",
    ]


def _copies(campaign: Campaign) -> list[Block]:
    own = {(row["goal"], row["access"], row["attack"]): row for row in campaign.rows}
    rows = []
    for row in campaign.copies:
        mine = own.get((row["goal"], row["access"], row["attack"]), {"L": None})
        rows.append(
            [
                row["attack"],
                _spaced(row["goal"]),
                number(mine["L"]),
                number(row["mean"]),
                number(row["sd"]),
                f"{len(row['L'])}",
            ]
        )
    head = ["Attack", "Goal", "L of the model", "Mean L of copies", "Standard deviation", "Copies"]
    return [Table(head, rows, "Copies were made by the training command, each with another seed.")]


def _stand_in(campaign: Campaign) -> list[Block]:
    rows = [
        [
            row["defense"],
            _spaced(row["goal"]),
            _drawn(row, math.nan),
            _figure(row, "M"),
            number(row["utility"], 3),
            _figure(row, "dU", 3, True),
        ]
        for row in campaign.stand_in
    ]
    return [
        Table(["Defense", "Goal", "L", "M", "Utility", "Change of utility"], rows),
        "These figures are of a model that was trained here on the same records. They are no "
        "evidence of the model that you have: they say what another training might bring.",
    ]


def _changes(campaign: Campaign) -> Block:
    rows = [
        [
            row["attack"],
            _spaced(row["goal"]),
            row["access"],
            number(row["L_last"], 2),
            number(row["L"], 2),
            row["verdict"],
        ]
        for row in campaign.compared
    ]
    return Table(["Attack", "Goal", "Access", "L then", "L now", "Change"], rows)


def _steps(campaign: Campaign) -> list[Block]:
    if campaign.unfinished:
        reasons = [f"{count} trials: {why}" for why, count in campaign.unfinished.items()]
        return [Points(reasons), "Mend that and give the same command: what ended is kept."]
    decision = campaign.decision
    if decision is None:
        return [campaign.undecided]
    if campaign.keeps:
        return [f"Nothing before {decision.until}, unless the model or its data change."]
    out: list[Block] = []
    if reasons := _against(decision):
        out = ["What speaks against the model as it is:", Points(reasons)]
    if campaign.chosen is not None:
        return [*out, f"Put {campaign.chosen} in front of the model. {decision.because}"]
    out.append("No defense before the model is shown to keep every bar.")
    points = decision.steps or decision.missing
    if points:
        out.append(Points(points, ordered=bool(decision.steps)))
    out += [Code(step.command) for step in decision.to_run if getattr(step, "command", "")]
    return out


def _against(decision: Decision | None) -> list[str]:
    """Why the model as it is does not pass; empty: it does, or nobody knows."""
    rejected = () if decision is None else decision.rejected
    own = (c for c in rejected if c.defense == UNDEFENDED)
    return list(dict.fromkeys(reason for c in own for _, reason in c.reasons))


def _limits(campaign: Campaign) -> list[str]:
    out = ["Attacks that nobody ran: leakage may be larger than shown."]
    if not campaign.members_known:
        out.append(
            "Who was trained on: without members M is not computed, and L is of people whom the "
            "model may or may not have seen."
        )
    if campaign.access != "weights":
        out.append("What somebody with the weights would find.")
    out.append("Another training of the same model: this is one target.")
    return out


def _drawn(row: Row, bar: float) -> Any:
    if row["L"] is None:
        return "not known"
    low, high = (math.nan if row[end] is None else row[end] for end in ("L_lo", "L_hi"))
    return Drawn(_leakage(row), row["L"], low, high, bar)


def _leakage(row: Row) -> str:
    if row["L"] is None:
        return "not known"
    known = {name: math.nan if row[name] is None else row[name] for name in ("L", "L_lo", "L_hi")}
    return leakage(known)


def _figure(row: Row, name: str, digits: int = 2, signed: bool = False) -> str:
    if row[name] is None:
        return "not known"
    low, high = (
        math.nan if row[f"{name}_{e}"] is None else row[f"{name}_{e}"] for e in ("lo", "hi")
    )
    return f"{number(row[name], digits, signed)} {interval(low, high, digits, signed)}".rstrip()


def _spaced(name: str) -> str:
    return name.replace("_", " ")
