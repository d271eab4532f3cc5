"""The constraint program whose solutions are the training sets that explain a forest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from attacks.common.leaf_boxes import Questions, Signs, Tree, apart
from bench.contract import UserError

_UNIT = 100
"""The solver's objective is whole: hundredths of a natural logarithm."""
_PROOF = 0.1
"""Share of the time up to which a proof is tried; small programs are solved to the end in it."""


def solver() -> Any:
    """The module of CP-SAT.

    Raises:
        UserError: OR-tools is not installed.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise UserError(
            "The reconstruction of a forest's training set needs OR-tools, which is not installed; "
            "install the extra 'reconstruction': pip install 'inversion-bench[reconstruction]'."
        ) from error
    return cp_model


@dataclass(frozen=True)
class Solution:
    """A training set that explains the trees.

    Attributes:
        answers: int8 ``[records, questions]``: 1 yes, -1 no, 0 either.
        classes: int64 ``[records]``.
        proven: whether no training set is more probable.
        spent: deterministic seconds of the solver.
    """

    answers: Signs
    classes: npt.NDArray[np.int64]
    proven: bool
    spent: float


@dataclass
class _Program:
    """Variables of the records, while the program is written.

    Attributes:
        cp: the module of CP-SAT.
        model: the program.
        known: int8 ``[records, questions]``: answers that the first placement settles.
        yes: of each record and open question, the variable that is true if the answer is yes.
        classes: of each record the classes it may have, each with its variable, or None if there
            is no other.
    """

    cp: Any
    model: Any
    known: Signs
    yes: dict[tuple[int, int], Any] = field(default_factory=dict)
    classes: list[dict[int, Any]] = field(default_factory=list)

    def way(self, record: int, path: Signs) -> Any:
        """A variable that is true only if ``record`` takes ``path`` through a tree."""
        taken = self.model.new_bool_var("")
        asked = np.flatnonzero((path != 0) & (self.known[record] == 0)).tolist()
        steps = [
            self.yes[record, q] if path[q] > 0 else self.yes[record, q].negated() for q in asked
        ]
        self.model.add_bool_and(steps).only_enforce_if(taken)
        return taken

    def both(self, way: Any, is_it: Any) -> Any:
        """A variable that is true only if both are; ``is_it`` None is always true."""
        if is_it is None:
            return way
        together = self.model.new_bool_var("")
        self.model.add_implication(together, way)
        self.model.add_implication(together, is_it)
        return together


def solve(
    questions: Questions,
    trees: Sequence[Tree],
    odds: npt.NDArray[np.float64],
    limit: float,
    seed: int,
) -> Solution | None:
    """The most probable training set that is found, or None if none is found in time.

    First any training set that explains the trees is looked for, in at most half of the time;
    then for a short while a proof that none is better; then better ones near the best.

    Args:
        questions: what the trees ask.
        trees: their leaves.
        odds: ``[classes, questions]``: what a yes adds to the log prior of a record.
        limit: deterministic seconds of the solver.
        seed: of the solver.
    """
    cp = solver()
    program = _records(cp, questions, max(trees, key=lambda tree: len(tree.draws)))
    merit = [part for tree in trees for part in _grown(program, tree)]
    for (k, q), variable in program.yes.items():
        merit.append((variable, round(_UNIT * float(odds[list(program.classes[k]), q].mean()))))
    search = cp.CpSolver()
    search.parameters.num_workers = 1
    search.parameters.random_seed = seed % 2**31
    # Relaxations and probing cost most of the time of finding a training set; a proof that none
    # is better needs relaxations.
    search.parameters.linearization_level = 0
    search.parameters.cp_model_probing_level = 0
    search.parameters.symmetry_level = 0
    search.parameters.max_deterministic_time = limit / 2
    status = search.solve(program.model)
    if status not in (cp.OPTIMAL, cp.FEASIBLE):
        return None
    found = list(search.response_proto.solution)
    spent = float(search.response_proto.deterministic_time)
    proven = not any(gain for _, gain in merit)
    if not proven:
        program.model.maximize(cp.LinearExpr.weighted_sum(*map(list, zip(*merit, strict=True))))
    for share, neighbours in ((_PROOF, False), (1.0, True)):
        if proven or spent >= share * limit:
            continue
        program.model.clear_hints()
        for index, value in enumerate(found):
            program.model.add_hint(program.model.get_int_var_from_proto_index(index), value)
        search.parameters.max_deterministic_time = share * limit - spent
        # One thread takes the neighbourhoods in turn, so that the same comes out on any machine.
        search.parameters.linearization_level = 0 if neighbours else 1
        search.parameters.interleave_search = neighbours
        search.parameters.use_lns_only = neighbours
        status = search.solve(program.model)
        spent += float(search.response_proto.deterministic_time)
        proven = bool(status == cp.OPTIMAL)
        if status in (cp.OPTIMAL, cp.FEASIBLE):
            found = list(search.response_proto.solution)
    answers = program.known.copy()
    for (k, q), variable in program.yes.items():
        answers[k, q] = 1 if found[variable.index] else -1
    classes = [
        next(c for c, is_it in options.items() if is_it is None or found[is_it.index])
        for options in program.classes
    ]
    return Solution(answers, np.array(classes), proven, spent)


def placed(tree: Tree, questions: int) -> tuple[Signs, list[list[int]]]:
    """What the leaves of one tree say of its records, leaf by leaf.

    Records have no order, so which of them fall into which leaf of one tree is no loss of
    generality. The last ones were never drawn for this tree, which says nothing of them.

    Returns:
        Their answers int8 ``[records, questions]`` and the classes that each may have.
    """
    place: list[int] = []
    options: list[list[int]] = []
    for leaf, (draws, different) in enumerate(zip(tree.draws, tree.different, strict=True)):
        present = np.flatnonzero(draws).tolist()
        place += [leaf] * int(different)
        if draws.sum() == different:
            options += [[c] for c in present for _ in range(draws[c])]
        else:
            options += [present] * int(different)
    missing = int(tree.draws.sum()) - len(place)
    place += [-1] * missing
    options += [list(range(tree.draws.shape[1]))] * missing
    nothing = np.zeros((1, questions), dtype=np.int8)
    return np.concatenate([tree.boxes, nothing])[place], options


def _records(cp: Any, questions: Questions, tree: Tree) -> _Program:
    """Variables of the records, which are put into the leaves of ``tree``."""
    known, options = placed(tree, len(questions.column))
    program = _Program(cp, cp.CpModel(), known)
    model = program.model
    for k in range(len(known)):
        for q in np.flatnonzero(known[k] == 0).tolist():
            program.yes[k, q] = model.new_bool_var("")
        for run in questions.runs:
            chain = [q for q in run.tolist() if known[k, q] == 0]
            for low, high in pairwise(chain):
                model.add_implication(program.yes[k, high], program.yes[k, low])
        for group, closed in zip(questions.groups, questions.closed, strict=True):
            open_ = [program.yes[k, q] for q in group.tolist() if known[k, q] == 0]
            if open_ and not (known[k, group] == 1).any():
                (model.add_exactly_one if closed else model.add_at_most_one)(open_)
        if len(options[k]) == 1:
            program.classes.append({options[k][0]: None})
            continue
        program.classes.append({c: model.new_bool_var("") for c in options[k]})
        model.add_exactly_one(program.classes[k].values())
    return program


def _grown(program: _Program, tree: Tree) -> list[tuple[Any, int]]:
    """Every record lies in one leaf, and every leaf has enough records of its classes.

    Returns:
        Variables with what each adds to the log-likelihood when it is true.
    """
    model, total = program.model, program.cp.LinearExpr.sum
    bagged = bool((tree.draws.sum(1) != tree.different).any())
    inside: dict[tuple[int, int], list[Any]] = {
        (v, c): [] for v, c in zip(*map(np.ndarray.tolist, np.nonzero(tree.draws)), strict=True)
    }
    far = apart(program.known, tree.boxes)
    for k, classes in enumerate(program.classes):
        leaves = np.flatnonzero(~far[k]).tolist()
        if not bagged:
            leaves = [v for v in leaves if any((v, c) in inside for c in classes)]
        ways = {v: program.way(k, tree.paths[v]) for v in leaves}
        model.add_exactly_one(ways.values())
        for v, way in ways.items():
            for c, is_it in classes.items():
                if (v, c) in inside:
                    inside[v, c].append(program.both(way, is_it))
    merit = []
    spare = int(tree.draws.sum() - tree.different.sum())
    for v, (draws, different) in enumerate(zip(tree.draws, tree.different.tolist(), strict=True)):
        present = np.flatnonzero(draws).tolist()
        if draws.sum() == different:
            least: list[Any] = draws[present].tolist()
        elif len(present) == 1:
            least = [different]
        else:
            least = [model.new_int_var(1, int(draws[c]), "") for c in present]
            model.add(total(least) == different)
        for c, few in zip(present, least, strict=True):
            here = total(inside[v, c])
            model.add(here >= few if bagged else here == few)
        if bagged:
            all_ = [record for c in present for record in inside[v, c]]
            more = [model.new_bool_var("") for _ in range(min(spare, len(all_) - different))]
            model.add(total(all_) >= different + total(more))
            # The logarithm of the ways to draw `different` of `different + i` records, less that
            # of one record fewer.
            merit += [
                (step, round(_UNIT * log((different + i) / i)))
                for i, step in enumerate(more, start=1)
            ]
    return merit
