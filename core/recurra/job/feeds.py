"""The batches of training: windows, lanes or whole sequences, as the task says."""

from __future__ import annotations

from recurra.data.batches import Reader
from recurra.data.feeds import Answered, Feed, Lanes, Sequences, Windows
from recurra.data.splits import Split
from recurra.errors import InputError
from recurra.resolved import Resolved


def feed_of(resolved: Resolved, reader: Reader, train: Split) -> Feed:
    """Return the batches of training.

    Raises `InputError` (RC041) that does the arithmetic where there are too few.
    """
    if train.whole or train.uncut or train.at_once:
        _in_one_window(resolved, reader, train)
    sequence, batch = resolved.task.sequence, resolved.task.training.batch_size
    if train.whole or train.uncut:
        return _sequences(resolved, reader, train)
    if not train.steps:
        raise _nothing_to_predict(train)

    seed = resolved.task.seed
    # Lanes run side by side through one text: a batch takes a window of each, and one step more.
    if sequence.carry:
        if train.elements < batch * sequence.length + train.reach:
            raise _too_few_elements(train, batch, sequence.length)
        return Lanes.of(reader, train, sequence.length, batch, sequence.restart, seed)

    windows = Windows.of(reader, train, sequence.length, sequence.stride, batch, seed)
    if windows.count < batch:
        fact = (
            f"the training split gives {windows.count} windows of up to {sequence.length} steps "
            f"({train.elements} elements in {len(train)} sequences), and one batch takes {batch}"
        )
        cure = f"batch_size <= {windows.count}, or a shorter sequence.length or stride"
        raise InputError.of("RC041", fact, key="training.batch_size", cure=cure)
    return windows


def _nothing_to_predict(train: Split) -> InputError:
    """Return the error of a training split in which every sequence is too short."""
    fact = (
        f"the training split holds {train.elements} elements in {len(train)} sequences: nothing"
        " can be predicted"
    )
    needed = max(train.reach, train.lag) + 1
    cure = f"a window needs an input and a target: {needed} elements"
    if train.lag > 1:
        cure += ", for what is read are differences"
    return InputError.of("RC041", fact, key="sequence.split", cure=cure)


def _too_few_elements(train: Split, batch: int, length: int) -> InputError:
    """Return the error of a training split that is too short for one batch of carried lanes."""
    elements, steps = train.elements, train.elements - train.reach
    after = f" + {train.reach}" if train.reach else ""
    fact = (
        f"the training split holds {elements} elements, and one batch takes"
        f" {batch * length + train.reach}: batch_size {batch} x length {length}{after}"
    )
    # Either of the two may give way, if it does not become 0.
    fitting = {"batch_size": steps // length, "length": steps // batch}
    either = [f"{name} <= {most}" for name, most in fitting.items() if most]
    cure = ", or ".join(either) or f"batch_size = 1 and length <= {steps}"
    return InputError.of("RC041", fact, key="training.batch_size", cure=cure)


def _in_one_window(resolved: Resolved, reader: Reader, train: Split) -> None:
    """Make the longest sequence one window, unless the task says otherwise.

    Raises `InputError` (RC031) where a cell reads both ways, and the task cuts one.
    """
    lengths = reader.store.ends - reader.store.starts
    # The mark at the end of an answer is never read.
    longest = int(lengths.max()) - train.uncut
    resolved.in_one_window(longest)
    length = resolved.task.sequence.length
    reads_both_ways = any(cell.options.bidirectional for cell in resolved.cells)
    if reads_both_ways and length < longest:
        fact = (
            "a cell that reads both ways takes each sequence in one window, and the longest has"
            f" {longest} steps"
        )
        cure = f"leave sequence.length out, or sequence.length = {longest}"
        raise InputError.of("RC031", fact, key="sequence.length", got=str(length), cure=cure)


def _sequences(resolved: Resolved, reader: Reader, train: Split) -> Feed:
    """Return the batches of whole sequences. Raises `InputError` (RC041)."""
    length, batch = resolved.task.sequence.length, resolved.task.training.batch_size
    count = len(train)
    if count < batch:
        fact = f"the training split holds {count} sequences, and one batch takes {batch}"
        cure = f"batch_size <= {count}"
        raise InputError.of("RC041", fact, key="training.batch_size", cure=cure)
    kind = Answered if train.uncut else Sequences
    return kind.of(reader, train, length, batch, resolved.task.seed)
