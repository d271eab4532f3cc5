"""Every command and program that the documentation shows is run, as a reader would."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, PageError, blocks, pages, play


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What programs remember between pages."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_shows(page: Path, tmp_path: Path, cache: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if not any(block.is_run for block in blocks(text)):
        pytest.skip("nothing on it is to be run")
    played = play(text, tmp_path, cache)
    print(f"{page.relative_to(ROOT)}: {played}")
    if not played.run:
        pytest.skip(f"its data is not here: {'; '.join(played.lacking)}")


def test_every_tutorial_runs_what_it_teaches() -> None:
    for page in sorted((ROOT / "docs" / "tutorials").glob("*.md")):
        shown = list(blocks(page.read_text(encoding="utf-8")))
        excused = [block for block in shown if "not run" in block.words]
        print(f"{page.name}: {sum(block.is_run for block in shown)} run, {len(excused)} excused")
        assert page.stem == "index" or any(block.is_run for block in shown), page.name


def test_a_page_is_one_folder_in_which_blocks_follow_each_other(tmp_path: Path) -> None:
    page = """
<!-- file: pack/words.py -->
```python
WORD = "seen"
```

```yaml
not: run
```

```python
from pathlib import Path
from pack.words import WORD

Path("seen.txt").write_text(WORD)
```

1. A list.

    ```sh
    test "$(cat seen.txt)" = seen && test "$PWD" -ef "$HOME"
    ```

<!-- not run: it would fail -->
```sh
false
```

<!-- exit: 3 -->
```sh
exit 3
```
"""
    ended = play(page, tmp_path, tmp_path)
    assert (ended.run, ended.excused) == (3, ["line 25: it would fail"])


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```sh\nfalse\ntrue\n```\n", "exit code 1"),
        ("```sh\nfalse | true\n```\n", "exit code 1"),
        ("```sh\necho $NOBODY_SET_THIS\n```\n", "NOBODY_SET_THIS"),
        ("```python\nraise SystemExit(4)\n```\n", "exit code 4"),
        ("<!-- exit: 1 -->\n```sh\ntrue\n```\n", "exit code 0"),
        ("<!-- not run: x -->\n\n```sh\nfalse\n```\n", "exit code 1"),
        ("<!-- not run: -->\n```sh\ntrue\n```\n", "without a word"),
        ("<!-- not run -->\n```sh\ntrue\n```\n", "without a word"),
        ("```sh\ntrue\n", "does not end"),
    ],
)
def test_what_a_page_must_not_show_fails(tmp_path: Path, page: str, message: str) -> None:
    with pytest.raises(PageError, match=message):
        play(page, tmp_path, tmp_path)


def test_what_needs_data_that_is_not_here_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "<!-- needs: german -->\n```sh\nfalse\n```\n"
    monkeypatch.delenv("INVBENCH_DATA_ROOT", raising=False)
    assert play(page, tmp_path / "without", tmp_path).lacking == ["line 2: german"]
    (tmp_path / "data" / "german").mkdir(parents=True)
    monkeypatch.setenv("INVBENCH_DATA_ROOT", str(tmp_path / "data"))
    with pytest.raises(PageError, match="exit code 1"):
        play(page, tmp_path / "with", tmp_path)
