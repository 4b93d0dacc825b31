"""The covariates of a series that goes through a session, step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.source import FUTURE, PAST, STATIC, Role
from recurra.data.covariate_vocabulary import CovariateVocabulary, Rows, filled
from recurra.data.dated import Since
from recurra.errors import InputError
from recurra.generate import arguments

Floats = NDArray[np.float64]

BESIDE = "beside."
"""How the names of its tensors begin in a saved state."""
LONGEST = 1 << 12
"""Bytes in which it is written when the next step is, at most."""


class Companion:
    """What is read beside the numbers of one series.

    A step is read together with the covariates of the future of the step after it. Where these are
    not known yet it waits, and they come with the next step, or by themselves. Where several steps
    are answered at once none waits: each is read with its own, and those of the steps ahead are
    read with the answer. Features of time stamps are always known: the first step that is read is
    as long after a stamp as `since` says.
    """

    def __init__(
        self, vocabulary: CovariateVocabulary, static: Floats, since: Since | None = None
    ) -> None:
        self.vocabulary = vocabulary
        static_rows = self._encoded(STATIC, static[None] if len(static) else None)
        self.static = filled(static_rows)
        # W each: what was read of the last step, which stands for what is missing after it.
        self.last: dict[Role, Floats] = {}
        # 1 F+P, or B F: the last step, and its covariates of the past, where it waits.
        self.pending: Tensor | None = None
        # m W: what is known of the steps to come; what is missing of them is no number.
        self.coming = np.zeros((0, vocabulary.width_of(FUTURE)))
        # 1 W: what was read of the next step, before it has come.
        self.looked_at: Floats | None = None
        # Whether the next step was told, and cannot be read for want of its past covariates.
        self.told = False
        # When the next step is that is read.
        self.since = since

    @classmethod
    def beside(cls, vocabulary: CovariateVocabulary, rows: Rows) -> Companion:
        """Return that of a series which begins with some rows."""
        made = cls(vocabulary, rows.static, rows.since)
        for role, row in zip((PAST, FUTURE), rows.before or (), strict=False):
            if role in vocabulary.tables:
                made._note(role, made._encoded(role, row[None]))
        return made

    @classmethod
    def of(
        cls, vocabulary: CovariateVocabulary, static: Mapping[str, Any] | None, time: Any = None
    ) -> Companion:
        """Return that of a series whose static covariates are given by their names.

        `time` is the stamp of its first step, where features of stamps are read. Raises
        `InputError` (RC080) for one that is missing, or that nothing reads.
        """
        since = None
        if vocabulary.dated is not None:
            since = vocabulary.dated.since(time)
        elif time is not None:
            raise without_calendar()
        table = vocabulary.tables.get(STATIC)
        given = arguments.named("static_covariates", static) or {}
        check_names(given, vocabulary.names(STATIC), "static covariate", "the series")
        rows = np.zeros(0)
        if table is not None:
            listed = {name: [value] for name, value in given.items()}
            rows = table.rows(listed, "of the series")[0]
        return cls(vocabulary, rows, since)

    @property
    def names(self) -> list[str]:
        """The covariates that must be known before a step comes."""
        return self.vocabulary.names(FUTURE)

    @property
    def past(self) -> list[str]:
        """The covariates that are known once a step has come."""
        return self.vocabulary.names(PAST)

    @property
    def waits(self) -> bool:
        """Whether a step has come that cannot be read yet."""
        return self.pending is not None and not len(self.coming)

    def reach(self, steps: int) -> int:
        """How many of the next steps can be told with what is known."""
        if self.vocabulary.ahead:
            return min(steps, len(self.coming)) if self.names else steps
        if self.past:
            return min(steps, 0 if self.waits else 1)
        if not self.names:
            return steps
        return min(steps, len(self.coming) + (self.pending is None))

    def rows(self, covariates: Mapping[str, Any] | Rows | None, count: int) -> Rows:
        """Return the covariates of so many steps; those of the future may be of more.

        Raises `InputError` (RC080) that names one that is missing, or that nothing reads.
        """
        if isinstance(covariates, Rows):
            return covariates
        given = dict(covariates or {})
        # What was known before they came needs not be said again.
        again = len(self.coming) >= count and not any(name in given for name in self.names)
        needed = self.past if again else [*self.past, *self.names]
        check_names(given, needed, "covariate", f"{count} step{'s' * (count > 1)}")

        parts: dict[Any, Floats] = {}
        for role, names in ((PAST, self.past), (FUTURE, [] if again else self.names)):
            parts[role] = np.zeros((count, 0))
            if not names:
                continue
            parts[role] = self.vocabulary.tables[role].rows(given, "of the steps that are fed")
            self._check_count(names, role, len(parts[role]), count)
        return Rows(parts[PAST], parts[FUTURE], np.zeros(0))

    def _check_count(self, names: list[str], role: Role, found: int, count: int) -> None:
        """Refuse fewer rows than steps, and of the past others than those.

        Raises `InputError` (RC080).
        """
        if found < count or (role == PAST and found > count):
            fact = f"{', '.join(names)}: {found} value{'s' * (found != 1)} for"
            fact += f" {count} step{'s' * (count != 1)}"
            raise InputError.of("RC080", fact, key="covariates", cure="give one for each step")

    def after(self, x: Tensor, rows: Rows) -> tuple[Companion, Tensor]:
        """Return it after steps `[n, F]`, and what is to be read of them and before, `[m, D]`."""
        other = self._copy()
        other.told, other.looked_at = False, None
        own = x
        if self.past:
            past = other._note(PAST, self._encoded(PAST, rows.past))
            own = torch.cat([x, torch.from_numpy(past).to(x)], dim=1)
        if not self.names:
            return other, other._beside(own, None)

        coming = self.coming
        if rows.future.shape[1]:
            coming = self._encoded(FUTURE, rows.future)
        if self.vocabulary.ahead:
            other.coming = coming[len(own) :]
            return other, other._beside(own, other._note(FUTURE, coming[: len(own)]))
        if rows.future.shape[1]:
            if self.pending is None:
                # That of the first of them is read already, or nothing was before it to read it.
                self._check_looked_at(coming[:1])
                other._note(FUTURE, coming[:1])
                coming = coming[1:]
        if self.pending is not None:
            own = torch.cat([self.pending, own])
        count = len(own) - 1
        other.pending, other.coming = own[count:], coming[count:]
        return other, other._beside(own[:count], other._note(FUTURE, coming[:count]))

    def fed_back(self, x: Tensor) -> tuple[Companion, Tensor]:
        """Return it after a step `[B, F]` that the network has said, and what is to be read.

        Of several streams each has said another, and all have the same covariates.
        """
        other = self._copy()
        if not self.names:
            return other, other._each(x, None)
        other.pending = x
        return other, x[:0]

    def said(self, count: int, like: Tensor) -> Tensor:
        """Return what is read beside the next steps that the network says, `[count, W]`.

        Of them enough is known, as `reach` tells.
        """
        coming = None
        if self.names:
            coming = filled(self.coming[:count], self.last.get(FUTURE))
        return self._copy()._beside(like.new_zeros(count, 0), coming)

    def ahead(self, covariates: Mapping[str, Any] | None) -> Companion:
        """Return it with what is known of the next step. Raises `InputError` (RC080)."""
        other = self._copy()
        if covariates is None:
            return other
        check_names(covariates, self.names, "future covariate", "the next step")
        if not self.names:
            return other
        table = self.vocabulary.tables[FUTURE]
        listed = {name: [value] for name, value in covariates.items()}
        row = table.encode(table.rows(listed, "of the next step"))
        if self.pending is None:
            # It was known before, and is read already.
            self._check_looked_at(row)
            return other
        other.coming = np.concatenate([row, self.coming[1:]])
        return other

    def foreknown(self, covariates: Mapping[str, Any]) -> Companion:
        """Return it with what is known of the steps ahead. Raises `InputError` (RC080)."""
        check_names(covariates, self.names, "future covariate", "the steps ahead")
        other = self._copy()
        if self.names:
            table = self.vocabulary.tables[FUTURE]
            other.coming = table.encode(table.rows(covariates, "of the steps ahead"))
        return other

    def ahead_of(self, steps: int, whole: int, like: Tensor) -> Tensor | None:
        """Return what is read with the answers to the next steps, `[1, whole, Q]`, if anything is.

        Behind those of the first `steps` stand zeros, or what is known as well. Raises `InputError`
        (RC080) if not all of these are known.
        """
        if not self.vocabulary.coming:
            return None
        if self.names and len(self.coming) < steps:
            listed, known = ", ".join(self.names), len(self.coming)
            fact = f"{known} of {steps} steps can be forecast: of step {known + 1} ahead the future"
            fact += f" covariates are not known: {listed}"
            cure = "give those of each: forecast({...}), or as more values than steps where these"
            cure += " are fed" + (f"; or steps = {known}" if known else "")
            raise InputError.of("RC080", fact, key="covariates", cure=cure)
        coming = np.zeros((whole, self.coming.shape[1]))
        known = min(whole, len(self.coming))
        coming[:known] = filled(self.coming[:known], self.last.get(FUTURE))
        if self.vocabulary.dated is not None:
            assert self.since is not None, "when the series begins is known"
            of_stamps = self.vocabulary.dated.stretch(self.since, whole)
            coming = np.concatenate([coming, of_stamps], axis=1)
        read = torch.from_numpy(coming).to(like)
        _check_finite(read)
        return read[None]

    def looked(self) -> tuple[Companion, Tensor]:
        """Return it once the step that waits is read, and what that is, `[1, D]`.

        Of several streams it is `[B, D]`.
        """
        assert self.pending is not None, "a step waits"
        other = self._copy()
        other.pending, other.coming = None, self.coming[1:]
        other.looked_at = other._note(FUTURE, self.coming[:1])
        return other, other._each(self.pending, other.looked_at)

    def _check_looked_at(self, row: Floats) -> None:
        """Refuse other covariates of a step than were read of it. Raises `InputError` (RC080)."""
        read, row = self.looked_at, filled(row, self.last.get(FUTURE))
        if read is not None and not np.array_equal(row, read, equal_nan=True):
            fact = "other future covariates of the next step were read already, when it was asked"
            fact += f" for: {', '.join(self.names)}"
            cure = "ask a copy: session.copy().forecast_step({...})"
            raise InputError.of("RC080", fact, key="covariates", cure=cure)

    def whole(self, x: Tensor, rows: Rows) -> Tensor:
        """Return what is read of a series from its beginning, as far as enough is known.

        Raises `InputError` (RC080).
        """
        for role, names, own in (PAST, self.past, rows.past), (FUTURE, self.names, rows.future):
            if names:
                self._check_count(names, role, len(own), len(x))
        after, read = self.after(x, rows)
        if after.pending is None or after.waits:
            return read
        return torch.cat([read, after.looked()[1]])

    def unknown(self) -> InputError:
        """Return the error of a step that is asked for before what must be known of it."""
        listed = ", ".join(self.names)
        fact = f"the future covariates of the next step are not known: {listed}"
        cure = "give them: forecast_step({...}), or as more values than steps where these are fed"
        return InputError.of("RC080", fact, key="covariates", cure=cure)

    def _copy(self) -> Companion:
        other = copy(self)
        other.last = {**self.last}
        return other

    def _note(self, role: Role, read: Floats) -> Floats:
        """Return what is read of the next steps of a role, with what came last, and keep that."""
        read = filled(read, self.last.get(role))
        if len(read):
            self.last[role] = read[-1]
        return read

    def _encoded(self, role: Any, rows: Floats | None) -> Floats:
        table = self.vocabulary.tables.get(role)
        if table is None or rows is None:
            return np.zeros((0 if rows is None else len(rows), 0))
        return table.encode(rows)

    def _each(self, own: Tensor, coming: Floats | None) -> Tensor:
        """Return one step of each stream with what is read beside it, and go on."""
        first = self._beside(own[:1], coming)
        beside = first[:, own.shape[1] :].expand(len(own), -1)
        return torch.cat([own, beside], dim=1)

    def _beside(self, own: Tensor, coming: Floats | None) -> Tensor:
        """Return steps with what is read beside them, and go on. Raises `InputError` (RC080)."""
        parts = [own]
        if coming is not None:
            parts.append(torch.from_numpy(coming).to(own))
        dated = self.vocabulary.dated
        if dated is not None:
            assert self.since is not None, "when the series begins is known"
            of_stamps = dated.stretch(self.since.after(dated.lead), len(own))
            parts.append(torch.from_numpy(of_stamps).to(own))
            self.since = self.since.after(len(own))
        if len(self.static):
            parts.append(torch.from_numpy(self.static).to(own).expand(len(own), -1))
        read = torch.cat(parts, dim=1)
        _check_finite(read)
        return read

    # a saved state

    def tensors(self) -> dict[str, Tensor]:
        """Return all that there is of it, by name."""
        tensors = {
            "coming": torch.from_numpy(self.coming.copy()),
            "static": torch.from_numpy(self.static.copy()),
            "told": torch.tensor(self.told),
        }
        if self.pending is not None:
            tensors["pending"] = self.pending.clone()
        if self.looked_at is not None:
            tensors["looked_at"] = torch.from_numpy(self.looked_at.copy())
        for role, table in self.vocabulary.tables.items():
            if table.lacks and role in self.last:
                tensors[f"last {role}"] = torch.from_numpy(self.last[role].copy())
        if self.since is not None:
            text = json.dumps(self.since.save())
            tensors["since"] = torch.tensor([*text.encode()], dtype=torch.uint8)
        return tensors

    def restored(self, tensors: dict[str, Tensor], features: int, streams: int = 1) -> Companion:
        """Return one that goes on from what `tensors` gave. Raises any error if that is none."""
        other = self._copy()
        self._check_saved(tensors)
        other.coming, other.static = (tensors[name].numpy() for name in ("coming", "static"))
        other.told, other.pending = bool(tensors["told"]), tensors.get("pending")
        looked_at = tensors.get("looked_at")
        other.looked_at = None if looked_at is None else looked_at.numpy()
        shapes = [(rows, features + self.vocabulary.width_of(PAST)) for rows in (1, streams)]
        if other.pending is not None and tuple(other.pending.shape) not in shapes:
            raise ValueError(f"the step that waits is {tuple(other.pending.shape)}")
        if other.looked_at is not None and other.looked_at.shape != (1, self.coming.shape[1]):
            raise ValueError(f"of the next step {other.looked_at.shape} was read")
        other.last = {}
        for role, table in self.vocabulary.tables.items():
            if f"last {role}" in tensors:
                other.last[role] = tensors[f"last {role}"].numpy()
                if other.last[role].shape != (table.width,):
                    raise ValueError(f"what was read last is {other.last[role].shape}")
        widths = other.coming.shape[1], other.static.shape[-1]
        if widths != (self.coming.shape[1], self.vocabulary.width_of(STATIC)):
            raise ValueError("its covariates are not those of the run")
        dated = self.vocabulary.dated
        if dated is not None:
            other.since = Since.restored(json.loads(bytes(tensors["since"].tolist())))
            dated.check(other.since)
        return other

    def _check_saved(self, tensors: dict[str, Tensor]) -> None:
        """Refuse a tensor that `tensors` does not give, or of another type. Raises `ValueError`."""
        types = {f"last {role}": torch.float64 for role in self.vocabulary.tables}
        types |= dict.fromkeys(("coming", "static", "looked_at"), torch.float64)
        types["told"] = torch.bool
        if self.vocabulary.dated is not None:
            types["since"] = torch.uint8
        for name, tensor in tensors.items():
            if name == "pending":
                continue
            if name not in types:
                raise ValueError(f"{BESIDE}{name[:200]} is not of it")
            if tensor.dtype != types[name] or (name == "since" and len(tensor) > LONGEST):
                raise ValueError(f"{BESIDE}{name} is {tuple(tensor.shape)} {tensor.dtype}")


def _check_finite(read: Tensor) -> None:
    """Refuse what is infinite as a network reads it. Raises `InputError` (RC080)."""
    if not bool(torch.isfinite(read).all()):
        fact = f"a covariate is beyond all numbers of {read.dtype} once it is scaled"
        raise InputError.of("RC080", fact, cure="give numbers like those of the data")


def without_calendar() -> InputError:
    """Return the error of a stamp that nothing reads."""
    fact = "this run reads no features of time stamps"
    return InputError.of("RC080", fact, key="time", cure="leave time out")


def check_names(given: Mapping[str, Any], needed: list[str], what: str, whose: str) -> None:
    """Refuse names that are missing, or that nothing reads. Raises `InputError` (RC080)."""
    missing = [name for name in needed if name not in given]
    foreign = [name for name in given if name not in needed]
    if not missing and not foreign:
        return
    allowed = ", ".join(needed) or "none"
    if missing:
        several = len(missing) > 1
        fact = f"{what}{'s' * several} {', '.join(map(repr, missing))} of {whose}"
        fact += " are missing" if several else " is missing"
    else:
        fact = f"{what} {foreign[0]!r} is none that is read here"
    raise InputError.of("RC080", fact, key="covariates", allowed=allowed)
