"""A training step and an evaluation with a large vocabulary: their time, and the memory they take.

Run it in a fresh process for each setting: the peak of memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from statistics import median

from recurra.bench.child import resident
from recurra.job.build import build_network, build_trainer
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra.train.evaluate import evaluate
from recurra.train.events import Updated

TASK = """\
schema = 1
[source]
kind = "text"
path = "words.txt"
[vocabulary]
kind = "word"
[sequence]
length = {steps}
split = [0.95, 0.05, 0.0]
[encoder]
kind = "embedding"
{encoder}
[cell]
kind = "lstm"
hidden_size = {hidden}
[loss]
kind = "cross_entropy"
[training]
steps = {updates}
batch_size = {batch}
clip_norm = 1.0
optimizer = {{ kind = "{optimizer}", lr = 0.001 }}
[generation]
length = 0
[device]
kind = "cpu"
"""
WORD = "w{:05d}"


def text(words: int) -> str:
    """Return a text in which every word of a vocabulary comes, most of them once."""
    drawn = random.Random(0).choices(range(words), k=words // 2)
    order = [*range(words), *drawn]
    random.Random(1).shuffle(order)
    return "".join(f" {WORD.format(word)}" for word in order)


def main() -> None:
    """Measure one setting, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--encoder", default="size = 256", help="further keys of the embedding")
    chosen = vars(parser.parse_args())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "words.txt").write_text(text(chosen["words"]), encoding="utf-8")
        (path / "task.toml").write_text(TASK.format(**chosen), encoding="utf-8")
        task = resolve(path / "task.toml", {})
        data = load_data(task)
        network, _ = build_network(task, data.vocabulary.size, data.names)
        weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
        before = resident()

        seconds = []
        last = time.perf_counter()
        for event in build_trainer(task, data, network).events():
            now = time.perf_counter()
            if isinstance(event, Updated):
                seconds.append(now - last)
            last = time.perf_counter()
        trained = resident(peak=True)

        start = time.perf_counter()
        split = data.splits["validation"]
        tally = evaluate(network, data.reader, split, data.tally())
        evaluated = time.perf_counter() - start
        peak = resident(peak=True)

    print(f"weights {weights / 1e6:,.0f} MB, before training {before / 1e6:,.0f} MB")
    print(f"an update: {median(seconds[1:]):.2f} s, peak {trained / 1e6:,.0f} MB")
    print(f"{tally.steps:,} steps evaluated: {evaluated:.2f} s, peak {peak / 1e6:,.0f} MB")
    print(f"nats {tally.values()['nats']:.6f}")


if __name__ == "__main__":
    main()
