"""What a run's folder says of the run before its first step."""

from __future__ import annotations

from typing import Any

from recurra.engine.choice import Choice
from recurra.job.data import Data
from recurra.job.paths import Execution
from recurra.model.network import Network
from recurra.randomness import SCHEME
from recurra.resolved import Resolved
from recurra.runs import files
from recurra.runs.folder import RunFolder, environment
from recurra.runs.records import ORIGIN


def describe(
    folder: RunFolder,
    resolved: Resolved,
    data: Data,
    network: Network,
    choices: list[Choice],
    origin: dict[str, Any] | None = None,
    randomness: int = SCHEME,
    processes: int = 1,
) -> None:
    """Write what the run is that so many processes train, before its first step."""
    execution = Execution.chosen(choices)
    ran_on = environment(
        network.device,
        processes=processes,
        paths=execution.paths,
        step_paths=execution.step_paths,
        randomness=randomness,
    )
    about_data = data.summary()
    learned = network.loss.save()
    if learned:
        about_data["loss"] = learned

    folder.write_task(resolved.toml())
    folder.write("plugins.json", plugins(resolved))
    folder.write("environment.json", ran_on)
    folder.write("data.json", about_data)
    folder.write("vocabulary.json", data.vocabulary.save())
    if origin is not None:
        folder.write(ORIGIN, origin)
    folder.records.seal()


def gone_on(folder: RunFolder, step: int, processes: int) -> list[str]:
    """Write that so many processes train a run from a step on, if they were others before.

    Returns that in lines. Raises `RunError` (RC052, RC053).
    """
    known = folder.records.environment()
    since = {at: count for at, count in known.processes_since.items() if int(at) < step}
    before = since[max(since, key=int)] if since else known.processes
    if processes != before:
        since[str(step)] = processes
    if since != known.processes_since:
        told = files.read_json(folder.path / "environment.json") | {"processes_since": since}
        folder.records.amend("environment.json", files.json_text(told))
    if processes == before:
        return []
    return [f"from step {step} on: {processes} process{'es' * (processes > 1)}, before {before}"]


def plugins(resolved: Resolved) -> list[dict[str, str]]:
    """Return what plugins.json holds: where each component of a task comes from.

    A local plugin of which the task uses none is there too: its code runs all the same.
    """
    lines = [
        {
            "kind": part.entry.component.kind,
            "name": part.entry.qualified,
            "distribution": part.entry.plugin.distribution,
            "version": part.entry.plugin.version,
        }
        for part in resolved.used
    ]
    used = {(line["distribution"], line["version"]) for line in lines}
    for plugin in resolved.catalog.plugins:
        if plugin.is_local and (plugin.distribution, plugin.version) not in used:
            own = {"distribution": plugin.distribution, "version": plugin.version}
            lines.append({"kind": "plugin", "name": plugin.distribution, **own})
    return lines
