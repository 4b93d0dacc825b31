"""A run read back: its task, data, vocabulary and weights, each as it was or refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from recurra.contracts.vocabulary import Vocabulary
from recurra.data.answers import ANSWERS
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.data.known import Known
from recurra.data.marks import Marked
from recurra.data.store import Store
from recurra.errors import InputError, PluginError, Problem, RecurraError, RunError
from recurra.job.data import Data, load_data
from recurra.job.elements import ELEMENTS
from recurra.job.paths import Execution
from recurra.model.device import of_here
from recurra.model.network import Network
from recurra.resolve import resolve
from recurra.resolved import Resolved
from recurra.runs.checkpoints import Checkpoint
from recurra.runs.folder import RunFolder
from recurra.runs.records import damaged, reading
from recurra.runs.versions import LOCAL


def same_data(folder: RunFolder, resolved: Resolved) -> Data:
    """Return the data of a run. Raises `InputError` (RC044) if it is not what it was made from."""
    recorded = folder.records.data().fingerprint

    def unchanged(store: Store) -> None:
        if store.fingerprint != recorded:
            fact = f"the data of {folder.path} has changed since it was made"
            raise InputError.of("RC044", fact, cure=_about_other_data(folder, resolved))

    try:
        return load_data(resolved, unchanged, _known(folder, resolved))
    except InputError as error:
        raise InputError(_looked_for(folder, problem) for problem in error.problems) from error


def _about_other_data(folder: RunFolder, resolved: Resolved) -> str:
    """Return what can be done with other data than that of a run."""
    task = folder.path / "task.toml"
    if resolved.given is not None:
        return (
            'give the data as it was; run.evaluate("all", data=...) measures other data, and'
            f" recurra.run({str(task)!r}, data=..., start={str(folder.path)!r}) trains on it, with"
            " the weights of this run"
        )
    return (
        f"bring back the data as it was; `recurra run {task} --from {folder.path}` trains"
        " on other data, with the weights of this run"
    )


def _known(folder: RunFolder, resolved: Resolved) -> Known | None:
    """Return what a run has taken of another, and has not learned of its own data."""
    origin = folder.records.origin()
    if origin is None:
        return None
    learned = learned_vocabulary(folder, resolved, True)
    answers: Any = learned_answers(folder, resolved, learned)
    return Known(
        str(folder.path),
        learned if "vocabulary" in origin.kept else None,
        answers if "answers" in origin.kept else None,
        covariates=learned_covariates(folder, resolved, learned),
    )


def _looked_for(folder: RunFolder, problem: Problem) -> Problem:
    """Return a problem; that of data that is not there says what can be done.

    A run knows where its data lay, no more.
    """
    if problem.code not in ("RC001", "RC040") or not problem.key.startswith("source"):
        return problem
    cure = f"bring the data back to where {folder.path} was made from it, or say where it lies now,"
    cure += " as -o source.path=... does; "
    cure += "generating and predicting need none"
    return replace(problem, cure=cure)


def same_vocabulary(folder: RunFolder, data: Data, vocabulary: Vocabulary[Any]) -> None:
    """Check a run's symbols by what its data gives, which tells where no hash does.

    Raises `RunError` (RC052).
    """
    if not data.elements.same(vocabulary, data.vocabulary):
        raise damaged(folder.path / "vocabulary.json", "its symbols are not those of the data")


def learned_vocabulary(folder: RunFolder, resolved: Resolved, verified: bool) -> Vocabulary[Any]:
    """Return the vocabulary of a run.

    Raises `RunError` (RC052) if its file is not what a vocabulary has saved.
    """
    vocabulary: Vocabulary[Any] = resolved.parts["vocabulary"].build()
    saved = folder.records.vocabulary()
    missing = folder.records.data().missing
    vocabulary.missing = None if missing is None else tuple(missing)
    if verified:
        vocabulary.restore(saved)
        return vocabulary

    # No hash tells that the files are whole: data.json may break its model, and a vocabulary that
    # was changed may still be restored, and fail later.
    folder.records.data()
    with reading(folder.path / "vocabulary.json"):
        vocabulary.restore(saved)
        if not vocabulary.size or vocabulary.save() != saved:
            raise ValueError("it is not what this vocabulary saves")
        ELEMENTS[vocabulary.yields].try_out(vocabulary)
    return vocabulary


def learned_answers(
    folder: RunFolder, resolved: Resolved, vocabulary: Vocabulary[Any]
) -> Vocabulary[Any]:
    """Return what the answers of a run are of.

    Raises `RunError` (RC052) where the run does not say.
    """
    if resolved.target.asks == "input":
        return vocabulary
    if resolved.target.scope == "answer":
        return Marked(vocabulary)
    record, path = folder.records.data(), folder.path / "data.json"
    saved = {"classes": record.labels} if record.labels else record.answers
    if not saved:
        raise damaged(path, "what its answers are is gone")
    answers = ANSWERS[resolved.target.answers]()
    with reading(path):
        answers.restore(saved)
    return answers


def learned_covariates(
    folder: RunFolder, resolved: Resolved, vocabulary: Vocabulary[Any]
) -> CovariateVocabulary | None:
    """Return what a run knows of covariates, if it reads any.

    Raises `RunError` (RC052) if that is not what was saved.
    """
    saved = folder.records.data().covariates
    if saved is None:
        return None
    with reading(folder.path / "data.json"):
        learned = CovariateVocabulary.restored(saved, vocabulary)
    return replace(learned, ahead=resolved.target.ahead)


def relearn(network: Network, folder: RunFolder) -> None:
    """Give the loss back what it learned of the answers.

    Raises `RunError` (RC052) if that is not what it saved.
    """
    saved = folder.records.data().loss
    with reading(folder.path / "data.json"):
        network.loss.restore(saved)


def recorded_paths(folder: RunFolder, resolved: Resolved) -> Execution:
    """Return the paths that a run records.

    Raises `RunError` (RC052) if they are not one for each cell.
    """
    execution = Execution.of(folder.records.environment())
    cells = 0
    for part in resolved.cells:
        directions = 2 if part.options.bidirectional else 1
        cells += part.options.num_layers * directions
    cells += resolved.target.ahead > 0 and resolved.target.decoder == "cell"

    if not len(execution.paths) == len(execution.step_paths) == cells:
        raise damaged(folder.path / "environment.json", f"the paths are not those of {cells} cells")
    return execution


def fill(network: Network, checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Give a network its weights. Raises `RunError` (RC052) if they are of another one."""
    cure = "task.toml and the plugins must be those that the run was made with"
    fact = f"the weights of {folder.path} do not fit its network"
    weights, own = checkpoint.tensors.get("weights", {}), network.state_dict()

    # torch would copy weights of another type without a word, and round them.
    for name, weight in weights.items():
        if name in own and weight.dtype != own[name].dtype:
            fact = f"{fact}: {name} is {weight.dtype}, not {own[name].dtype}"
            raise RunError.of("RC052", fact, cure=cure)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        message = " ".join(str(error).split())[:300]
        raise RunError.of("RC052", f"{fact}: {message}", cure=cure) from error


def resolved_again(
    folder: RunFolder,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    data: Any = None,
    tables: Mapping[str, Any] | None = None,
) -> Resolved:
    """Resolve a run's task, as overrides change it, with `data` in the place of what it was given.

    It is that of its folder, or the `tables` of one whose files lie elsewhere now.

    Raises `PluginError` (RC070) that says what to install, if a plugin is gone. Warns
    (`OtherVersion`) if the task names a device that this machine lacks, and takes one that it has.
    """
    try:
        task = folder.path / "task.toml" if tables is None else tables
        resolved = resolve(task, overrides, data=data, recorded=True)
    except RecurraError as error:
        if not any(problem.code in ("RC020", "RC022") for problem in error.problems):
            raise
        fact = f"{folder.path} needs a plugin that is not here: {error.problems[0].fact}"
        raise PluginError.of("RC070", fact, cure=_cure(folder, error)) from error

    resolved.task = resolved.task.model_copy(update={"device": of_here(resolved.task.device)})
    return resolved


def _cure(folder: RunFolder, error: RecurraError) -> str:
    """Return what brings a run's plugins back.

    They are installed, mended until they load again, or brought back as the local file was.
    """
    components = folder.records.plugins()
    faulty = [problem.cure for problem in error.problems if problem.code == "RC022"]
    if faulty:
        return faulty[0]

    facts = [problem.fact for problem in error.problems]
    missing = [each for each in components if any(each.name in fact for fact in facts)]
    missing = missing or components
    local = [each for each in missing if each.distribution.startswith(LOCAL)]
    if local:
        files = {f"{each.distribution.removeprefix(LOCAL)} ({each.version})" for each in local}
        return f"bring the plugin file back as it was: {', '.join(sorted(files))}"

    versions = {f"{each.distribution}=={each.version}" for each in missing}
    return "pip install " + " ".join(sorted(versions))
