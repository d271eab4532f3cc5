from __future__ import annotations

import io
import logging
import threading
from pathlib import Path

from bench.engine.durations import duration
from bench.engine.execution import prepare
from bench.engine.logs import log_file
from bench.engine.progress import Display, TimeLeft


def test_duration() -> None:
    assert [duration(s) for s in (0.2, 59.5, 65, 7300)] == [
        "1 s",
        "1 min 0 s",
        "1 min 5 s",
        "2 h 1 min",
    ]


def test_time_left_goes_by_what_was_seen_then_by_history() -> None:
    left = TimeLeft({"target": 4, "attack": 10}, {"attack": 2.0})
    assert left.estimate(1) == 4 * 2.0 + 10 * 2.0
    left.ended("target", 8.0)
    assert left.estimate(2) == (3 * 8.0 + 10 * 2.0) / 2
    assert TimeLeft({"target": 1}, {}).estimate(1) is None


def test_plain_lines_go_to_the_stream_and_the_log(
    toy_words, toy_conf: Path, tmp_path: Path
) -> None:
    _, plan = prepare(toy_words(), toy_conf)
    stream = io.StringIO()
    log, other = tmp_path / "logs" / "run.log", tmp_path / "logs" / "other.log"
    display = Display(plan, set(plan.nodes), len(plan.trials), "plain", stream=stream)
    node = next(iter(plan.nodes.values()))
    with log_file(log):
        display.node(node, "failed", 1.0)
        thread = threading.Thread(target=_logs, args=(other,))
        thread.start()
        thread.join()
        display.tick(2)
    display.close()
    assert f"{node.kind} {node.label} ended in failed" in stream.getvalue()
    assert f"1/{len(plan.nodes)} nodes, 0/14 trials done, 2 running" in stream.getvalue()
    assert node.label in log.read_text()
    assert "another run" not in log.read_text()
    assert other.read_text().endswith("another run\n"), (
        "each run of a process has a file of its own"
    )


def _logs(path: Path) -> None:
    with log_file(path):
        logging.getLogger("bench.engine.execution").info("another run")
