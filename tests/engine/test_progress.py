from __future__ import annotations

import io
import logging
import threading
from pathlib import Path

from bench.engine.driving.pace import Pace
from bench.engine.durations import duration
from bench.engine.execution import prepare
from bench.engine.graph import Node
from bench.engine.logs import log_file
from bench.engine.progress import Display
from tests.engine.ready_made import PlanMaker


def test_duration() -> None:
    assert [duration(s) for s in (0.2, 59.5, 65, 7300)] == [
        "1 s",
        "1 min 0 s",
        "1 min 5 s",
        "2 h 1 min",
    ]


def _node(kind: str, label: str) -> Node:
    maker = PlanMaker()
    return maker.nodes[maker.node(kind, label, 0)]


def test_time_left_goes_by_what_was_seen_then_by_history() -> None:
    pace = Pace({"target": 4, "attack": 10}, {"attack": 2.0})
    assert pace.left() == 4 * 2.0 + 10 * 2.0
    pace.ended(_node("target", "data/mlp/none"), 8.0)
    assert pace.left() == 3 * 8.0 + 10 * 2.0
    assert Pace({"target": 1}, {}).left() is None


def test_a_node_should_take_what_others_of_its_component_took() -> None:
    pace = Pace({}, {"attack": 100.0, "attack data/mlp/none/toy": 3.0})
    assert pace.seconds(_node("attack", "data/mlp/none/toy")) == 3.0
    assert pace.seconds(_node("attack", "data/cnn/none/other")) is None, "of another attack"
    pace.ended(_node("attack", "data/mlp/none/other"), 5.0)
    assert pace.seconds(_node("attack", "data/cnn/none/other")) == 5.0


def test_plain_lines_go_to_the_stream_and_the_log(
    toy_words, toy_conf: Path, tmp_path: Path
) -> None:
    _, plan = prepare(toy_words(), toy_conf)
    stream = io.StringIO()
    log, other = tmp_path / "logs" / "run.log", tmp_path / "logs" / "other.log"
    display = Display(len(plan.nodes), len(plan.trials), Pace({}, {}), "plain", stream=stream)
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
