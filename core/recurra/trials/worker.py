"""A process that makes one trial after another, as it is told on its stdin.

It says when it is ready, and may then be told of a log. It answers each trial with a line of JSON,
before which it may report what validations measure, and waits for a line that says whether the
trial is pruned there. When its stdin ends, whoever began it is gone, and so is it.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from typing import Any

from recurra.data.reads import once
from recurra.errors import Interrupted, RecurraError
from recurra.runs import files
from recurra.train.interrupt import handled
from recurra.trials.trial import Judge, Report, Trial, made


def main() -> None:
    """Make trials until there is nobody to tell of them."""
    # What a plugin prints is none of the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    said: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(said,), daemon=True).start()

    def tell(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(files.finite(answer)) + "\n")
        answers.flush()

    def judge(report: Report) -> bool:
        tell({"report": report})
        return bool(said.get()["prune"])

    tell({"ready": True})
    with handled(lambda number, frame: os._exit(128 + number)), once():
        while True:
            asked = said.get()
            if "log" in asked:
                _say_in(asked["log"])
                continue
            answer = answered(Trial(**asked), judge)
            if "interrupted" in answer:
                os._exit(answer["interrupted"])
            tell(answer)


def _say_in(log: str) -> None:
    """Say in a file from now on what is no answer."""
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _listen(said: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        said.put(json.loads(line))
    # Nobody waits for what is being trained: it goes on from its last checkpoint another time.
    os._exit(0)


def answered(trial: Trial, judge: Judge) -> dict[str, Any]:
    """Return what came of a trial, or the error that is not its own, as plain data.

    Where an end was asked for, that is said.
    """
    try:
        return {"outcome": made(trial, judge)}
    except Interrupted as request:
        return {"interrupted": request.exit_code}
    except RecurraError as error:
        problems = [problem.record() for problem in error.problems]
        return {"error": problems, "exit_code": error.exit_code}


if __name__ == "__main__":
    main()
