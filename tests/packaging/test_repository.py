"""Files for who works on the project: workflows, forms, hooks and what contributors read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import bench
from tests.packaging.absent import ROOT

FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
FORMS = sorted((FOLDER / "ISSUE_TEMPLATE").glob("*.yml"))
each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


BY_MAINTAINERS = {"push", "workflow_dispatch"}
"""Events that only people who may write to the repository can cause."""
DOCUMENTS = ("CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md")


def _read(path: Path) -> dict[str, Any]:
    """A workflow; YAML 1.1 reads the key ``on`` as true."""
    read: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in read.items()}


def _steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def _may_write(workflow: dict[str, Any]) -> bool:
    """Whether a job may write; GitHub's short form for all rights is the text ``write-all``."""
    jobs = workflow["jobs"].values()
    rights = [workflow["permissions"], *(job.get("permissions", {}) for job in jobs)]
    return any("write" in (r if isinstance(r, str) else r.values()) for r in rights)


def _writes_only_for_maintainers(workflow: dict[str, Any]) -> bool:
    """Whether nobody but a maintainer starts a workflow that may write.

    What follows another workflow is started by strangers too, but runs the default branch's text:
    it is there to do what the first may not, so it writes, and nothing else starts it.
    """
    events = {workflow["on"]} if isinstance(workflow["on"], str) else {*workflow["on"]}
    if "workflow_run" in events:
        return _may_write(workflow) and len(events) == 1
    return not _may_write(workflow) or events <= BY_MAINTAINERS


def _targets() -> list[str]:
    """What ``make`` can make."""
    return re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)


@each
def test_what_a_step_runs_is_there(path: Path) -> None:
    for step in _steps(_read(path)):
        for targets in re.findall(r"^make ([a-z -]+)$", step.get("run", ""), re.M):
            assert {*targets.split()} <= {*_targets()}
        for name in re.findall(r"(?:^|[ /])(\.ci/\w+)", step.get("run", "")):
            script = ROOT / name
            assert script.is_file(), name
            assert script.stat().st_mode & 0o111, f"{name} cannot be run"
        assert ("run" in step) != ("uses" in step)


@each
def test_no_step_lets_a_shell_read_what_a_stranger_wrote(path: Path) -> None:
    for step in _steps(_read(path)):
        assert "${{" not in step.get("run", ""), "give it as a variable of the environment"


@each
def test_who_reads_a_pull_request_may_not_write(path: Path) -> None:
    workflow = _read(path)
    assert "pull_request_target" not in workflow["on"]
    assert _writes_only_for_maintainers(workflow)
    writes = _may_write(workflow)
    for step in _steps(workflow):
        if "actions/checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False
            if writes:
                assert "ref" not in step["with"], (
                    "a workflow that may write checks out its own branch"
                )
                assert "repository" not in step["with"]


WRITES, READS = {"contents": "write"}, {"contents": "read"}


@pytest.mark.parametrize(
    ("events", "rights", "allowed"),
    [
        ("push", WRITES, True),
        (["push", "workflow_dispatch"], "write-all", True),
        ({"workflow_run": {"workflows": ["pack"]}}, WRITES, True),
        ({"pull_request": None}, READS, True),
        ({"issue_comment": {"types": ["created"]}}, WRITES, False),
        ("issue_comment", "write-all", False),
        ({"push": None, "pull_request": None}, WRITES, False),
        ({"workflow_run": {"workflows": ["pack"]}, "issue_comment": None}, WRITES, False),
        ({"workflow_run": {"workflows": ["pack"]}, "push": None}, WRITES, False),
        ({"workflow_run": {"workflows": ["pack"]}}, READS, False),
    ],
)
def test_a_workflow_that_strangers_start_may_not_write(
    events: Any, rights: Any, allowed: bool
) -> None:
    in_all_jobs = {"on": events, "permissions": rights, "jobs": {"job": {}}}
    in_one_job = {"on": events, "permissions": {}, "jobs": {"job": {"permissions": rights}}}
    assert _writes_only_for_maintainers(in_all_jobs) == allowed
    assert _writes_only_for_maintainers(in_one_job) == allowed


def test_the_workflow_that_posts_follows_the_one_that_verifies() -> None:
    verifies, posts = (_read(FOLDER / "workflows" / f"{n}.yml") for n in ("pack", "pack-comment"))
    assert posts["on"]["workflow_run"]["workflows"] == [verifies["name"]]
    names = [
        s["with"]["name"] for w in (verifies, posts) for s in _steps(w) if "artifact" in str(s)
    ]
    assert len({*names}) == 1 < len(names)


def test_ci_runs_every_python_that_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    prefix = "Programming Language :: Python :: 3."
    named = [f"3.{line.removeprefix(prefix)}" for line in project["classifiers"] if prefix in line]
    ci = _read(FOLDER / "workflows" / "ci.yml")["jobs"]["test"]
    assert ci["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"
    assert [step["run"] for step in ci["steps"] if "run" in step] == [".ci/run"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_of_issues_ask_something(path: Path) -> None:
    form = _read(path)
    if path.stem == "config":
        assert form["blank_issues_enabled"] is False
        return
    assert form["name"] and form["description"]
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert any(part.get("validations", {}).get("required") for part in fields)
    ids = [part["id"] for part in fields]
    assert len(ids) == len({*ids})


def test_hooks_check_what_make_lint_checks_with_the_same_tools() -> None:
    hooks = _read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [source["repo"] for source in hooks] == ["local"], "a second set of versions"
    entries = [hook["entry"].split()[:2] for hook in hooks[0]["hooks"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lint = makefile.partition("\nlint:")[2].partition("\n\n")[0]
    linted = [line.replace("$(BIN)", ".venv/bin").split()[:2] for line in lint.splitlines()[1:]]
    assert entries == linted


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_contributors_read_names_things_that_are_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).is_file(), target
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M):
        assert target in _targets(), target
    for folder in re.findall(r"`((?:tests|bench|conf|attacks|defenses)/[a-z_/]*)`", text):
        assert (ROOT / folder).exists(), folder


def test_the_citation_is_of_this_version() -> None:
    citation = _read(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == bench.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["authors"] == project["authors"]
    assert citation["license"] == project["license"]
