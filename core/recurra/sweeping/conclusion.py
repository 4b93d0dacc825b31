"""What a sweep comes to: the best of its trials, judged once on the held-out split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from recurra import system
from recurra.errors import RunError
from recurra.resolve import resolve
from recurra.runs import files
from recurra.runs.folder import numbered
from recurra.runs.records import reading
from recurra.sweeping.folder import AGAIN
from recurra.sweeping.making import Sweeping
from recurra.sweeping.results import Row, Sweep, made_of
from recurra.sweeping.space import Spaced
from recurra.sweeping.study import OUTCOME


def concluded(sweeping: Sweeping, spaced: Spaced) -> Sweep:
    """Judge the best trial, if no process has, and return what came of all.

    Raises `RunError` (RC060) where no trial has come to its end.
    """
    folder, study = sweeping.folder, sweeping.study
    with system.awaited(folder.path / ".judging", "judging the best trial", in_turn=True):
        if not folder.is_judged:
            made = _concluded(sweeping, spaced, study.checked())
            files.write_json(folder.result, made.record())
    return made_of(folder)


def _concluded(sweeping: Sweeping, spaced: Spaced, trials: list[FrozenTrial]) -> Sweep:
    folder, study, space = sweeping.folder, sweeping.study, spaced.space
    plan = folder.plan
    rows = [_row(sweeping, trial) for trial in trials if trial.number < plan.trials]
    done = [row for row in rows if row.state == "done"]
    if not done:
        why = next((row.why for row in rows if row.why), "all were pruned")
        fact = f"none of {len(rows)} trials has come to its end, the first since {why}"
        cure = "mend the task or its space: `recurra run` the task alone"
        raise RunError.of("RC060", fact, cure=cure)

    costs = [
        [plan.metrics[name].cost(value) for name, value in row.figures.items() if value is not None]
        for row in done
    ]
    front = [done[at].number for at in study.front(costs)]
    best = done[min(range(len(done)), key=lambda at: (costs[at], done[at].number))]
    result, run = _judged(sweeping, best.number)
    test = _figures(result, plan.metrics)
    directions: dict[str, str | float] = {
        name: each.aim if each.aim is not None else "higher" if each.higher else "lower"
        for name, each in plan.metrics.items()
    }
    counts = Counter(row.state for row in rows)
    return Sweep(
        task=plan.task,
        metrics=directions,
        sampler=space.sampler.kind,
        pruner=space.pruner.kind,
        seeds=plan.seeds,
        trials=rows,
        best=best.number,
        front=front,
        validation=best.figures,
        test=test,
        split=str(result["split"]),
        verdict=str(result.get("verdict", "")),
        counts={state: counts[state] for state in ("done", "pruned", "failed")},
        notes=_notes(rows, best, str(result["split"]), plan.seeds, len(plan.metrics), len(front)),
        run=run,
    )


def _row(sweeping: Sweeping, trial: FrozenTrial) -> Row:
    outcome: dict[str, Any] = trial.user_attrs[OUTCOME]
    figures = outcome.get("figures", {})
    seeds = range(len(sweeping.folder.plan.seeds))
    homes = [sweeping.folder.path / "trials" / str(trial.number) / f"seed-{at}" for at in seeds]
    return Row(
        number=trial.number,
        state=outcome["state"],
        values=sweeping.study.params(trial),
        figures={name: figures.get(name) for name in sweeping.folder.plan.metrics},
        why=str(outcome.get("why", "")),
        runs=[str(home.relative_to(sweeping.folder.path)) for home in homes if home.is_dir()],
    )


def _judged(sweeping: Sweeping, number: int) -> tuple[dict[str, Any], str]:
    """Write the best task, go on with its first run to a result, and return that, and the run.

    One that has a result already is not judged again.
    """
    folder = sweeping.folder
    trial = sweeping.trial(number, 0, judged=True)
    best = resolve(Path(trial.task), trial.overrides)
    files.write_text(folder.path / "best.toml", best.toml())
    found = _result(Path(trial.home))
    if found is None:
        sweeping.tell([f"judging trial {number}, the best"])
        with sweeping.opening(1) as pool:
            outcomes = [outcome for _, outcome in pool.each([trial])]
        if outcomes[0]["state"] != "done":
            fact = f"the best trial cannot be judged: {outcomes[0]['why']}"
            raise RunError.of("RC060", fact, cure="`recurra run` its best.toml alone")
        found = _result(Path(trial.home))
    assert found is not None
    return found


def _result(home: Path) -> tuple[dict[str, Any], str] | None:
    """Return the result of the newest run in a folder, and that run, if it has one."""
    for path in numbered(home):
        if (path / "result.json").exists():
            with reading(path / "result.json", AGAIN):
                result: dict[str, Any] = files.read_json(path / "result.json")
            return result, "/".join(path.parts[-4:])
    return None


def _figures(result: dict[str, Any], metrics: Any) -> dict[str, float | None]:
    """Return the figures of a result that validation has as well, by the names of the metrics."""
    known = {"parameters": result.get("parameters"), **result["metrics"]}
    return {
        name: float(value) if isinstance(value := known.get(name), int | float) else None
        for name in metrics
    }


def _notes(
    rows: list[Row], best: Row, split: str, seeds: list[int], metrics: int, front: int
) -> list[str]:
    notes = []
    if split != "test":
        notes.append(f"the task has no test split: the best is judged on its {split} split")
    if len(seeds) > 1:
        notes.append(f"figures of validation are means of {len(seeds)} seeds, test is of the first")
    if metrics > 1:
        notes.append(f"of {front} trials that none is better than, the first metric chooses one")
    for why, count in Counter(row.why for row in rows if row.state == "failed").most_common():
        notes.append(f"{count} of {len(rows)} trials failed: {why}")
    return notes
