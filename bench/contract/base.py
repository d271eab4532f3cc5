"""What data sets, models, defenses, attacks and priors have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from bench.contract.options import check_options


class Component:
    """A part that an option names: a frozen dataclass whose fields are the option's keys.

    The types of the fields say which values are allowed (:mod:`bench.contract.options`). A subclass
    that checks more, such as two options against each other, extends ``__post_init__``.

    Attributes:
        takes_sparse: whether it works on records in compressed rows
            (:mod:`bench.contract.sparse`); one that does not is left out where they are too many
            to be dense.
        incidental: options that change how a result is come by and not the result, such as a
            time-out; they are no part of the identity of what is made with the component.
    """

    takes_sparse: ClassVar[bool] = False
    incidental: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Check every option against its type.

        Raises:
            UserError: names the option, its value and what is allowed.
        """
        check_options(self)

    @property
    def imports(self) -> tuple[str, ...]:
        """Modules that its options name, whose code decides what it gives.

        They must be in a package that options may name.
        """
        return ()

    def files(self, data_root: Path | None) -> Mapping[str, Path | Sequence[Path]]:
        """Every file and folder that it reads, so that a changed one makes its results again.

        Their contents are part of the identity of all that is made with the component. Where they
        lie is not: a key that is a field of the component stands for a path, which may differ on
        another machine as long as the contents are the same.

        Args:
            data_root: folder of real data sets; None if there is none.

        Returns:
            A path, or several in a fixed order, by the field that names them, or by another word
            where none does. What is not there is left out.
        """
        return {}
