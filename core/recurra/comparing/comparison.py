"""A comparison: its trials made to the last, and the table and the verdict that come of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import numpy as np

from recurra.comparing import statistics
from recurra.comparing.folder import CompareFolder, Direction, PlannedVariant
from recurra.errors import Interrupted, RunError
from recurra.runs import files
from recurra.trials.journal import Outcome
from recurra.trials.places import Opening
from recurra.trials.pool import Pool
from recurra.trials.trial import Trial

Telling = Callable[[Sequence[str]], None]


@dataclass
class Row:
    """What came of a variant: its figure in each seed, nothing where it failed."""

    name: str
    hidden_size: int | None
    encoder: int
    recurrent: int
    head: int
    state: int
    flops: int
    memory: int
    error: float | None
    rate: float | None
    tried: dict[str, float | None]
    values: list[float | None]
    failures: list[str]
    mean: float | None
    interval: list[float] | None
    rank: int
    improvement: float
    runs: list[str]


@dataclass
class Versus:
    """Two variants: by how much the first one's figure is above the second's, and if it is noise.

    `better` names the one that is better beyond noise.
    """

    first: str
    second: str
    difference: float | None
    interval: list[float] | None
    better: str | None
    why: str


@dataclass
class Comparison:
    """A comparison that is made: `rows` in the order of their ranks, all `pairs`, a `verdict`.

    `seconds` are those of a step of training of each variant, timed in turns before the trials.
    """

    task: str
    match: str
    metric: str
    higher: bool
    split: str
    seeds: list[int]
    rows: list[Row]
    pairs: list[Versus]
    verdict: str
    notes: list[str] = field(default_factory=list)
    folder: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def __fspath__(self) -> str:
        """Return the path of its folder: it stands wherever that is asked for."""
        return self.folder

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, as `--json` prints it."""
        return asdict(self)

    def record(self) -> dict[str, Any]:
        """Return what comparison.json holds: nothing of clocks or places, the same bytes again."""
        data = self.as_data()
        del data["folder"], data["seconds"]
        return data


def completed(folder: CompareFolder, places: Opening, tell: Telling) -> Comparison:
    """Make the trials that are not finished, and return what came of all.

    Whoever calls this holds the folder. Raises `Interrupted` with what is done, and `RecurraError`
    for a fault that is of no trial.
    """
    plan = folder.plan
    tuning = [
        _trial(folder, each, f"rate-{rate:g}", plan.tuning_seed, rate)
        for rate in plan.rates
        for each in plan.variants
    ]
    tuned = [trial.name for trial in tuning]
    finished = folder.journal.read()
    names = [f"{each.folder}/{_of_seed(seed)}" for seed in plan.seeds for each in plan.variants]
    most = max(sum(name not in finished for name in some) for some in (names, tuned))
    with _telling_how_to_go_on(folder), ExitStack() as stack:
        # One for all, begun where the first trial is to be made.
        pool = cache(lambda: stack.enter_context(places(most)))
        outcomes = _made(folder, tuning, pool, tell)
        rates = {each.folder: _tuned(folder, each, outcomes) for each in plan.variants}
        judged = [
            _trial(folder, each, _of_seed(seed), seed, rates[each.folder])
            for seed in plan.seeds
            for each in plan.variants
        ]
        outcomes |= _made(folder, judged, pool, tell)
    comparison = _told(folder, outcomes, rates)
    files.write_json(folder.path / "comparison.json", comparison.record())
    return comparison


class _telling_how_to_go_on:
    """Says of an interruption, and of what else ends it, how the comparison goes on."""

    def __init__(self, folder: CompareFolder) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, KeyboardInterrupt | Interrupted):
            done = len(self.folder.journal.read())
            fact = f"interrupted; {done} trials are finished, the others go on from where they are"
            cure = f"`recurra compare {self.folder.path}` goes on"
            raise Interrupted.because(error, fact, cure) from None


def _of_seed(seed: int) -> str:
    """Return the folder of a seed's trial, within that of its variant."""
    return f"seed-{seed}"


def _trial(
    folder: CompareFolder, variant: PlannedVariant, name: str, seed: int, rate: float | None
) -> Trial:
    """Return a trial of a variant, of which rate and seed are left open."""
    overrides: dict[str, Any] = {"seed": seed}
    if folder.plan.rates and rate is not None:
        overrides["training.optimizer.lr"] = rate
    return Trial(
        f"{variant.folder}/{name}",
        str(folder.path.absolute() / f"{variant.folder}.toml"),
        str(folder.path.absolute() / variant.folder / name),
        overrides,
        variant.execution,
    )


def _made(
    folder: CompareFolder, trials: Sequence[Trial], pool: Callable[[], Pool], tell: Telling
) -> dict[str, Outcome]:
    """Return the outcome of each trial; those that are not finished are made."""
    finished = folder.journal.read()
    waiting = [trial for trial in trials if trial.name not in finished]
    if len(waiting) < len(trials):
        tell([f"{len(trials) - len(waiting)} of {len(trials)} trials are finished already"])
    if waiting:
        for number, (trial, outcome) in enumerate(pool().each(waiting), 1):
            folder.journal.append(trial.name, outcome)
            said = "failed: " + outcome["why"] if outcome["state"] == "failed" else "done"
            tell([f"trial {number} of {len(waiting)}: {trial.name} {said}"])
    finished = folder.journal.read()
    return {trial.name: finished[trial.name] for trial in trials}


def _tuned(
    folder: CompareFolder, variant: PlannedVariant, outcomes: dict[str, Outcome]
) -> float | None:
    """Return the learning rate of a variant: the best on validation, where several were tried."""
    plan = folder.plan
    if not plan.rates:
        return variant.rate
    tried = _tried(folder, variant, outcomes)
    figure = plan.figures[plan.monitor]
    costs = {
        rate: math.inf if (value := tried[f"{rate:g}"]) is None else figure.cost(value)
        for rate in plan.rates
    }
    best = min(plan.rates, key=lambda rate: costs[rate])
    return best if math.isfinite(costs[best]) else variant.rate


def _tried(
    folder: CompareFolder, variant: PlannedVariant, outcomes: dict[str, Outcome]
) -> dict[str, float | None]:
    """Return what each learning rate gave on validation; nothing where it failed."""
    return {
        f"{rate:g}": outcomes[f"{variant.folder}/rate-{rate:g}"].get("validation")
        for rate in folder.plan.rates
    }


def _told(
    folder: CompareFolder, outcomes: dict[str, Outcome], rates: dict[str, float | None]
) -> Comparison:
    plan = folder.plan
    each = [
        [outcomes[f"{variant.folder}/seed-{seed}"] for seed in plan.seeds]
        for variant in plan.variants
    ]
    done = [outcome for row in each for outcome in row if outcome["state"] == "done"]
    if not done:
        why = each[0][0]["why"]
        fact = f"every trial has failed, the first since {why}"
        raise RunError.of("RC060", fact, cure="mend the task: `recurra run` it alone")
    metric = plan.metric or next((o["judged"] for o in done if o["judged"]), "loss")
    figure = plan.figures.get(metric, Direction(higher=False))

    values = [[_value(outcome, metric) for outcome in row] for row in each]
    costs = np.array(
        [[math.inf if value is None else figure.cost(value) for value in row] for row in values]
    )
    ranks = statistics.ranks(costs)
    rows = []
    for index, variant in enumerate(plan.variants):
        numbers = np.array([value for value in values[index] if value is not None])
        whole = len(numbers) == len(plan.seeds)
        limits = statistics.interval(numbers) if whole else None
        rows.append(
            Row(
                name=variant.name,
                hidden_size=variant.hidden_size,
                encoder=variant.encoder,
                recurrent=variant.recurrent,
                head=variant.head,
                state=variant.state,
                flops=variant.flops,
                memory=variant.memory,
                error=variant.error,
                rate=rates[variant.folder],
                tried=_tried(folder, variant, outcomes) if plan.rates else {},
                values=values[index],
                failures=[_why(o, metric) for o in each[index] if _value(o, metric) is None],
                mean=float(numbers.mean()) if whole else None,
                interval=None if limits is None else list(limits),
                rank=ranks[index],
                improvement=statistics.among(costs, index),
                runs=[f"{variant.folder}/seed-{seed}" for seed in plan.seeds],
            )
        )
    sign = -1.0 if figure.higher and figure.aim is None else 1.0
    names = [variant.name for variant in plan.variants]
    pairs = [_versus(pair, names, sign) for pair in statistics.pairs(costs)]
    ordered = sorted(rows, key=lambda row: row.rank)
    return Comparison(
        task=plan.task,
        match=plan.match,
        metric=metric,
        higher=figure.higher,
        split=done[0]["split"],
        seeds=plan.seeds,
        rows=ordered,
        pairs=pairs,
        verdict=verdict(ordered, pairs),
        notes=_notes(folder, ordered, done[0]["split"]),
        folder=str(folder.path),
        seconds={variant.name: variant.seconds for variant in plan.variants},
    )


def _value(outcome: Outcome, metric: str) -> float | None:
    """Return the figure of a trial; nothing where it failed, or where the figure is no number."""
    value = outcome.get("metrics", {}).get(metric)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _why(outcome: Outcome, metric: str) -> str:
    return str(outcome.get("why", f"it gives no {metric}"))


def _versus(pair: statistics.Pair, names: Sequence[str], sign: float) -> Versus:
    difference = None if pair.difference is None else sign * pair.difference + 0.0
    limits = (
        None if pair.interval is None else sorted(sign * limit + 0.0 for limit in pair.interval)
    )
    better = None if pair.better is None else names[pair.better]
    return Versus(names[pair.first], names[pair.second], difference, limits, better, pair.why)


def verdict(rows: Sequence[Row], pairs: Sequence[Versus]) -> str:
    """Say in a sentence which variant is best, and over which of the others that is no noise.

    `rows` stand in the order of their ranks.
    """
    best, *others = rows
    if best.failures:
        return "nothing can be said: every one has failed in some seed"
    found = {
        frozenset((pair.first, pair.second)): pair
        for pair in pairs
        if best.name in (pair.first, pair.second)
    }
    beaten: list[str] = []
    noise: list[str] = []
    few: list[str] = []
    failed: list[str] = []
    groups = {"better": beaten, "too few seeds": few, "failed": failed}
    for row in others:
        why = found[frozenset((best.name, row.name))].why
        groups.get(why, noise).append(row.name)

    parts = []
    if beaten:
        parts.append(f"{best.name} is better than {', '.join(beaten)}")
    if noise:
        parts.append(f"between {best.name} and {', '.join(noise)} the difference is noise")
    if few:
        parts.append(f"{best.name} has the best mean, but {statistics.TOO_FEW}")
    if failed:
        parts.append(f"{', '.join(failed)} failed in some seeds")
    return "; ".join(parts)


def _notes(folder: CompareFolder, rows: Sequence[Row], split: str) -> list[str]:
    plan, notes = folder.plan, []
    if len(plan.seeds) < statistics.FEWEST:
        notes.append(f"{statistics.TOO_FEW}; ask for more with --seeds")
    if split != "test":
        notes.append(f"the task has no test split: figures are of its {split} split")
    if not plan.rates:
        rates = {row.rate for row in rows}
        same = f"the same learning rate, {rows[0].rate:g}" if rows[0].rate else "their own rates"
        said = f"all have {same}" if len(rates) == 1 else "learning rates as the task has them"
        notes.append(f"{said}; --tune-lr tunes it for each")
    else:
        edges = [row.name for row in rows if row.rate in (plan.rates[0], plan.rates[-1])]
        tried = ", ".join(f"{rate:g}" for rate in plan.rates)
        notes.append(
            f"learning rates of {tried} were tried of each on validation, with seed"
            f" {plan.tuning_seed}"
        )
        if edges and len(plan.rates) > 1:
            notes.append(f"the best rate of {', '.join(edges)} lies at the edge of what was tried")
    for row in rows:
        notes += [f"{row.name}: {why}" for why in row.failures]
    for variant in plan.variants:
        notes += [f"{variant.name}: {note}" for note in variant.notes]
    return notes
