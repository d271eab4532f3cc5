"""Results in memory: trials and boards as tables, plots and pages of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bench.contract.errors import UserError, nearest
from bench.contract.record import TrialRecord
from bench.exchange.pack import Pack
from bench.report import boards, figures, frame
from bench.report.boards import Boards
from bench.report.closure import slugs
from bench.report.facts import Facts
from bench.report.latex import Columns
from bench.report.site import Site


@dataclass(frozen=True)
class RunSummary:
    """What a run did, besides its records.

    Attributes:
        label: what the run is called.
        trials: how many trials were planned.
        ended: number of trials by status.
        computed: number of nodes that were run, by kind.
        cached: nodes that were needed and recorded already.
        left_out: number of cells that cannot work, by what they are and the reason.
        reasons: number of trials that a failure cost, by its sentence, the most first.
        set_aside: place of damaged results, where they lie now, and what was wrong with them.
        state: how it ended: ``ended``, ``interrupted`` from outside, ``stalled`` because no machine
            could run what was left, or ``broken`` because the back end failed.
        reason: why it is ``stalled`` or ``broken``.
        elsewhere: nodes that another run on the same store computed meanwhile.
        losses: how often nodes were lost with their machines, by reason; no trial ends by it.
        machines: machines that were given no more work, and why.
        left_open: nodes that were lost so often that they have no result, with the last reason.
        untracked: why MLflow did not take the run; empty: it did, or is switched off.
        wall_s: seconds it took.
        log: its log file; gone with the store where that was a temporary one.
    """

    label: str
    trials: int
    ended: Mapping[str, int]
    computed: Mapping[str, int]
    cached: int
    left_out: Mapping[tuple[str, str], int]
    reasons: Mapping[str, int]
    set_aside: tuple[tuple[str, Path, str], ...]
    state: str
    reason: str
    elsewhere: int
    losses: Mapping[str, int]
    machines: Mapping[str, str]
    left_open: Mapping[str, str]
    untracked: str
    wall_s: float
    log: Path

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped from outside."""
        return self.state == "interrupted"

    @property
    def incomplete(self) -> int:
        """Trials that have not ended."""
        return self.trials - sum(self.ended.values())

    @property
    def failed(self) -> int:
        """Trials that ended neither well nor because of another failure."""
        return sum(n for status, n in self.ended.items() if status not in ("done", "skipped"))


@dataclass(frozen=True)
class Plot:
    """A figure of one board.

    Attributes:
        rows: what is drawn.
    """

    rows: pd.DataFrame

    def save(self, path: Path) -> Path:
        """Write it; the ending of the name says how: ``.svg``, ``.pdf`` or ``.png``.

        Raises:
            UserError: another ending.
        """
        form = path.suffix.lstrip(".")
        if form not in figures.FORMATS:
            raise UserError(f"'{path}' must end in .{', .'.join(figures.FORMATS)}.")
        path.write_bytes(figures.draw(self.rows, [form])[form])
        return path

    def _repr_png_(self) -> bytes:
        return figures.draw(self.rows, ["png"])["png"]


@dataclass(frozen=True, repr=False)
class Results:
    """Trials of one suite, and everything that follows from them.

    Attributes:
        pack: the records, and where they come from.
        summary: what the run did that made them; None where they were loaded.
        site: the pages that were written of them; None: none were.
    """

    pack: Pack
    summary: RunSummary | None = None
    site: Site | None = None

    def __repr__(self) -> str:
        boards, trials = len(self.board_names()), len(self.trials())
        return f"<Results of '{self.pack.suite}': {trials} trials, {boards} boards>"

    @cached_property
    def _read(self) -> tuple[pd.DataFrame, Facts]:
        return frame.read(self.pack.records, self.pack.suite, self.pack.manifest["trials"])

    @cached_property
    def made(self) -> Boards:
        """The boards with everything that belongs to them."""
        return boards.build(self.trials())

    def records(self) -> list[TrialRecord]:
        """Every trial record, whole."""
        return list(self.pack.records)

    def trials(self) -> pd.DataFrame:
        """One row a trial, as :func:`bench.report.frame.read` describes its columns.

        ``dataset``, ``model``, ``defense``, ``attack`` and ``seed`` say which trial it is, ``goal``
        and ``access`` what was attacked, ``status`` how it ended, ``control`` what it is a control
        of; ``L`` and ``M`` are the leakage and the member gap (unclipped), ``score``, ``s_base``
        and ``s_ceil`` what they are made of, ``utility`` the usefulness of the deployment.
        """
        return self._read[0]

    def boards(self) -> pd.DataFrame:
        """One row a defense on each board, as :class:`bench.report.boards.Boards` describes them.

        ``L``, ``L_lo`` and ``L_hi`` are the worst-case leakage with the ends of its 95 % interval,
        ``worst_attack`` the attack it is of, ``dU`` the utility that the defense costs.
        """
        return self.made.rows

    def attacks(self) -> pd.DataFrame:
        """One row for each attack that a defense met on a board."""
        return self.made.attacks

    def checks(self) -> pd.DataFrame:
        """One row a control: what was checked, and whether it held (PROTOCOL 3.6)."""
        return self.made.controls

    @property
    def lacking(self) -> str:
        """What was planned and has no record, in a sentence; empty: everything is there."""
        return self._read[1].coverage.sentence

    def board_names(self) -> list[str]:
        """What :meth:`plot` calls each board, such as ``diabetes-mlp-attribute-scores``."""
        return list(slugs(key for key, _ in self.made).values())

    def plot(self, board: str | None = None) -> Plot:
        """Utility against leakage of one board; a notebook shows it, ``save`` writes it.

        Args:
            board: one of :meth:`board_names`; None: the first that can be drawn.

        Raises:
            UserError: there is no such board, or nothing to draw on it.
        """
        names = {name: key for key, name in slugs(key for key, _ in self.made).items()}
        if board is not None and board not in names:
            raise UserError(f"There is no board '{board}'.{nearest(board, names)}")
        drawable = figures.drawable(self.made, self.trials())
        rows = next(iter(drawable.values()), None) if board is None else drawable.get(names[board])
        if rows is None:
            raise UserError(
                f"'{board or self.pack.suite}' has no row with both utility and leakage; "
                "name another board."
            )
        return Plot(rows)

    def report(
        self,
        to: Path,
        figures: bool = False,
        config_dir: Path | None = None,
        signers: Path | None = None,
        columns: Columns = "1",
        **publication: Any,
    ) -> Site:
        """Write the boards as a site that opens from disk.

        Args:
            to: folder to write to.
            figures: also draw each board for papers.
            config_dir: a user's own options.
            signers: whose signatures are trusted.
            columns: where LaTeX tables are to stand, see :data:`bench.report.latex.LAYOUTS`.
            **publication: ``authors``, ``licence`` and ``url``, as of
                :func:`bench.api.publish.write`.

        Raises:
            UserError: the records may not share boards, or the folder cannot be written.
        """
        from bench.api.publish import write

        return write(self.pack, to, figures, config_dir, signers, columns, **publication)

    def _repr_html_(self) -> Any:
        """A notebook shows the boards."""
        columns = ["dataset", "model", "goal", "access", "defense", "L", "L_lo", "L_hi", "utility"]
        return self.boards()[columns].to_html(index=False, float_format="{:.2f}".format)
