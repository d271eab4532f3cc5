"""Code that seems to have been edited, for tests of what an edit changes."""

from __future__ import annotations

import dataclasses

import pytest

from bench.contract.source import Source
from bench.engine import nodes
from bench.engine.stages import module_of


def edit(monkeypatch: pytest.MonkeyPatch, kind: str, module: str) -> None:
    """Plan from now on as if ``module`` had been edited, for nodes of ``kind`` alone."""
    real = nodes.sources

    def edited(modules: tuple[str, ...], packages: tuple[str, ...]) -> Source:
        source = real(modules, packages)
        if module_of(kind) not in modules:
            return source
        return dataclasses.replace(source, digests={**source.digests, module: "edited"})

    monkeypatch.setattr(nodes, "sources", edited)
