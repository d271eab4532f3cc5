"""Everything that the pages of a suite are made from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from bench.goals import goal_named
from bench.report.boards import BoardKey, Boards
from bench.report.closure import BOARD, by_board
from bench.report.facts import Facts
from bench.report.frame import BASELINE, SCENARIO, UNDEFENDED, dicts, flags_of
from bench.report.names import Names, sees

Row = dict[str, Any]

_DEPLOYED = ["dataset", "model", "defense"]


@dataclass(frozen=True)
class Choice:
    """The setting that stands for a family on one board.

    Attributes:
        row: with its figures.
        idle: whether the family has no effect there.
        unsplit: whether it was chosen on the seeds that its figures are of.
    """

    row: Row
    idle: bool
    unsplit: bool


def choose(
    boards: Boards, family: Mapping[str, str], tuned: pd.DataFrame
) -> dict[tuple[BoardKey, str], Choice]:
    """The setting that stands for each family on each board.

    It is the one that was chosen on some seeds, with its figures on the others (PROTOCOL 3.7); of
    too few seeds for that, the one that stands first on the board.

    Args:
        boards: of the suite.
        family: of each defense.
        tuned: as :func:`bench.report.families.tuned` gives it.
    """
    picked = {
        (key, row["family"]): row for key, rows in by_board(tuned).items() for row in dicts(rows)
    }
    choices: dict[tuple[BoardKey, str], Choice] = {}
    for key, rows in boards:
        settings = rows["defense"].map(family).value_counts()
        for row in dicts(rows):
            place = (key, family[row["defense"]])
            if place in choices:
                continue
            idle = "no_effect" in flags_of(row)
            several = settings[place[1]] > 1 and not idle
            best = picked.get(place, row) if several else row
            choices[place] = Choice(best, idle, bool(several and best is row))
    return choices


@dataclass(frozen=True)
class Suite:
    """What every page is made from.

    Attributes:
        name: of the suite.
        frame: its trials.
        facts: what else the records say.
        boards: of the frame.
        tuning: by board, as :func:`bench.report.site.tuning.tuning` gives it.
        families: by board, as :func:`bench.report.site.tuning.summaries` gives it.
        pictures: by (data set, model, defense, attack), what may be shown.
        given: provenance.
        ids: file names of boards, without ending.
        defenses: file names of families of defenses, without ending.
        attacks: file names of families of attacks, without ending.
        family: family of each defense by row name.
        attack_family: family of each attack by row name.
        figures: files drawn for papers.
        names: what people call options.
        chosen: by board and family, the setting that stands for it.
    """

    name: str
    frame: pd.DataFrame
    facts: Facts
    boards: Boards
    tuning: Mapping[BoardKey, Row]
    families: Mapping[BoardKey, list[Row]]
    pictures: Mapping[tuple[str, ...], Row]
    given: Mapping[str, Any]
    ids: Mapping[BoardKey, str]
    defenses: Mapping[str, str]
    attacks: Mapping[str, str]
    family: Mapping[str, str]
    attack_family: Mapping[str, str]
    figures: tuple[str, ...]
    names: Names
    chosen: Mapping[tuple[BoardKey, str], Choice]

    def called(self, group: str, name: str, brief: bool = False) -> str:
        """What people call a row of a group."""
        return self.names.row(group, name, self._option(group, name), brief)

    def known(self, name: str) -> str:
        """What people call a row of a defense or an attack; other text stays as it is."""
        return self._titles.get(name, name)

    @cached_property
    def _titles(self) -> dict[str, str]:
        """What people call every row of a defense or an attack; of equal names, the defense."""
        groups = (("attack", self.attack_family), ("defense", self.family))
        return {name: self.called(group, name) for group, rows in groups for name in rows}

    def parts(self, group: str, name: str, brief: bool = False) -> tuple[str, str]:
        """Title and settings of a row of a group, as :meth:`bench.report.names.Names.parts`."""
        return self.names.parts(group, name, self._option(group, name), brief)

    def _option(self, group: str, name: str) -> str:
        return (self.family if group == "defense" else self.attack_family).get(name, "")

    def spelled(self, text: str) -> str:
        """A sentence of the machine's, with what people call its defenses and attacks.

        Names that are ordinary words, as ``dropout``, stay.
        """
        return self._machine_names.sub(lambda name: self._titles[name[0]], text)

    @cached_property
    def _machine_names(self) -> re.Pattern[str]:
        names = (name for name in self._titles if re.search(r"[_\[]", name))
        longest_first = sorted(names, key=len, reverse=True)
        return re.compile("|".join([*map(re.escape, longest_first), r"(?!)"]))

    def target(self, dataset: str, model: str) -> str:
        """What people call a model of a data set: ``German credit, neural network``."""
        return self.names.target(dataset, model, self.facts.cards[dataset])

    def place(self, key: BoardKey) -> str:
        """A board in few words: ``German credit, neural network: attacker sees scores``.

        The goal stands there where the model is attacked for several.
        """
        goals = {k.goal for k in self.ids if (k.dataset, k.model) == (key.dataset, key.model)}
        sight = sees(key.access, key.budget).lower()
        if len(goals) > 1:
            return f"{self.scenario(key._asdict())}, {sight}"
        return f"{self.target(key.dataset, key.model)}: {sight}"

    def scenario(self, row: Row) -> str:
        """What is attacked for what: ``German credit, neural network: a hidden attribute``."""
        goal = goal_named(row["goal"]).words.title.lower()
        return f"{self.target(row['dataset'], row['model'])}: {goal}"

    def title(self, key: BoardKey) -> str:
        """What a board answers."""
        return self.names.board(key, self.facts.cards[key.dataset])

    @cached_property
    def attacking(self) -> int:
        """How many families of attacks use the model: L is measured from those that do not."""
        own = self.frame[(self.frame["control"] == "") & (self.frame["access"] != BASELINE)]
        return len({self.attack_family[name] for name in own["attack"].unique()})

    @cached_property
    def trials(self) -> dict[Any, pd.DataFrame]:
        """Trials by data set and model."""
        return _parts(self.frame, ["dataset", "model"])

    @cached_property
    def seeds(self) -> dict[Any, pd.DataFrame]:
        """Finished trials by board."""
        return _parts(self.boards.seeds, BOARD)

    @cached_property
    def certain(self) -> dict[Any, pd.DataFrame]:
        """Of whom attackers are certain by board."""
        return _parts(self.boards.certain, BOARD)

    @cached_property
    def checks(self) -> dict[Any, pd.DataFrame]:
        """Controls by scenario."""
        return _parts(self.boards.controls, SCENARIO)

    @cached_property
    def baselines(self) -> dict[Any, pd.DataFrame]:
        """Attacks without the model by scenario."""
        return _parts(self.boards.baselines, SCENARIO)

    @cached_property
    def undefended(self) -> dict[BoardKey, Row]:
        """The row without a defense of every board where its leakage is known."""
        return {
            key: row
            for key, rows in self.boards
            for row in dicts(rows[(rows["defense"] == UNDEFENDED) & rows["L"].notna()])
        }

    @cached_property
    def standing(self) -> dict[str, list[tuple[BoardKey, int, Row]]]:
        """Rows of each family of defenses: board, how many share its places, row."""
        out: dict[str, list[tuple[BoardKey, int, Row]]] = {}
        for key, rows in self.boards:
            ties = rows["rank"].value_counts().to_dict()
            for row in dicts(rows):
                of = out.setdefault(self.family[row["defense"]], [])
                of.append((key, ties.get(row["rank"], 1), row))
        return out

    @cached_property
    def breaking(self) -> dict[str, dict[BoardKey, list[Row]]]:
        """Rows that act, by family of their worst attack and board."""
        out: dict[str, dict[BoardKey, list[Row]]] = {}
        for rows in self.standing.values():
            for key, _, row in rows:
                if "no_effect" not in flags_of(row):
                    of = self.attack_family.get(row["worst_attack"], "")
                    out.setdefault(of, {}).setdefault(key, []).append(row)
        return out

    @cached_property
    def training(self) -> dict[tuple[str, str, str], float]:
        """Seconds of training by data set, model and defense."""
        return self._spent("train_s", "target")

    @cached_property
    def answering(self) -> dict[tuple[str, str, str], float]:
        """Milliseconds for 1,000 answers, likewise; empty where the records do not say."""
        return self._spent("answer_ms", "seed")

    def _spent(self, column: str, once: str) -> dict[tuple[str, str, str], float]:
        """Medians over seeds of a cost that all attacks on a deployment share: it counts once.

        The first task of a worker takes longer, and undefended targets often come first.
        """
        own = self.frame[(self.frame["control"] == "") & self.frame[column].notna()]
        own = own.drop_duplicates([*_DEPLOYED, once])
        middle: dict[Any, float] = own.groupby(_DEPLOYED)[column].median().to_dict()
        return middle


def _parts(table: pd.DataFrame, by: list[str]) -> dict[Any, pd.DataFrame]:
    """A table cut once, since a search for each of hundreds of boards is slow."""
    return dict(list(table.groupby(by, sort=False)))
