"""The resolved task: written and read again it is the same task; and the JSON Schema that describes
every task.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from conftest import HELLO, SERIES
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from recurra.catalog import Catalog, Entry, discover
from recurra.contracts.component import KINDS, TRACKER
from recurra.errors import InputError
from recurra.resolve import resolve, usable_name
from recurra.resolved import Resolved
from recurra.schema import json_schema, option_rows
from recurra.spec import shipped
from recurra.spec.tables import Task

QUICK = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Write = Callable[..., Path]
CATALOG = discover()
SCHEMA = json_schema(CATALOG)
VALIDATOR = Draft202012Validator(SCHEMA)
WHOLE = {"hello": HELLO, "series": SERIES} | {
    name: (shipped.folder() / f"{name}.toml").read_text(encoding="utf-8")
    for name in shipped.tasks()
}

# Tasks drawn from the language's own description of itself.

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)


def drawn(rule: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that a JSON Schema allows."""
    if "$ref" in rule:
        return drawn(definitions[rule["$ref"].split("/")[-1]], definitions)
    if options := [
        option
        for option in rule.get("anyOf", rule.get("oneOf", []))
        if option.get("type") != "null"
    ]:
        return st.one_of(*(drawn(option, definitions) for option in options))
    if "enum" in rule or "const" in rule:
        return st.sampled_from(rule.get("enum", [rule.get("const")]))
    if rule.get("type") == "object":
        return tables(rule, definitions)
    if rule.get("type") == "array":
        least, most = rule.get("minItems", 0), rule.get("maxItems", 3)
        return st.lists(
            drawn(rule["items"], definitions), min_size=least, max_size=max(least, most)
        )
    if rule.get("type") == "number":
        low, high = (
            rule.get("minimum", rule.get("exclusiveMinimum")),
            rule.get("maximum", rule.get("exclusiveMaximum")),
        )
        edges = {
            "exclude_min": "exclusiveMinimum" in rule,
            "exclude_max": "exclusiveMaximum" in rule,
        }
        return st.floats(low, high, allow_nan=False, allow_infinity=False, **edges)
    low, high = (
        rule.get("minimum"),
        rule.get("maximum", rule.get("exclusiveMaximum", (1 << 63)) - 1),
    )
    return {"integer": st.integers(low, high), "boolean": st.booleans(), "string": TEXT}[
        rule["type"]
    ]


def tables(rule: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return tables with what they must have, and some of what they may; or of any keys, where they
    take those.
    """
    if every := rule.get("additionalProperties"):
        return st.dictionaries(TEXT, drawn(every, definitions), max_size=2)
    required = set(rule.get("required", [])) | (
        {"kind"} & {n for n, r in rule["properties"].items() if "const" in r}
    )
    parts = {name: drawn(inner, definitions) for name, inner in rule.get("properties", {}).items()}
    return st.fixed_dictionaries(
        {name: part for name, part in parts.items() if name in required},
        optional={name: part for name, part in parts.items() if name not in required},
    )


CORE = Task.model_json_schema(by_alias=True)
CORE_TABLES = ("sequence", "training", "generation", "device", "expect")
SHARES = st.sampled_from([[1.0, 0.0, 0.0], [0.5, 0.25, 0.25], [3, 1, 0]])


@st.composite
def tasks(draw: Any) -> dict[str, Any]:
    """Draw a task: every core table, and a component of each kind with options of its own."""
    task = draw(st.sampled_from([tomllib.loads(HELLO), tomllib.loads(SERIES)]))
    for name in CORE_TABLES:
        task[name] = draw(_core(name))
    for kind in ("vocabulary", "encoder", "loss", "cell"):
        entries = [e for e in CATALOG.of_kind(kind) if e.plugin.distribution == "recurra"]
        task[kind] = _component(draw, draw(st.sampled_from(entries)))
        if kind == "cell" and draw(st.booleans()):
            task[kind] = {"stack": [task[kind], _component(draw, draw(st.sampled_from(entries)))]}
    if draw(st.booleans()):
        task["source"] = {
            "kind": "text",
            "path": draw(TEXT),
            "each": draw(st.sampled_from(["file", "line"])),
        }
    if draw(st.booleans()):
        task["training"].pop("epochs", None)
    else:
        task["training"].pop("steps", None)
    if "threads" in task["device"]:  # as many as one core may have
        task["device"]["threads"] = draw(st.integers(0, 4))
    if "levels" in task["generation"]:  # each stands once
        task["generation"]["levels"] = [*dict.fromkeys(task["generation"]["levels"])]
    if "split" in task["sequence"]:
        task["sequence"]["split"] = draw(SHARES)
    if task["sequence"].get("carry"):
        task["sequence"].pop("stride", None)
    else:
        task["sequence"].pop("restart", None)
    return {**task, "seed": draw(st.integers(0, (1 << 63) - 1))}


@cache
def _core(name: str) -> st.SearchStrategy[Any]:
    rule = CORE["$defs"][name.capitalize()]
    kinds = {"kind": {"enum": ["auto", "cpu", "cuda", "cuda:1", "mps"]}} if name == "device" else {}
    properties = {
        key: part for key, part in {**rule["properties"], **kinds}.items() if key != "optimizer"
    }
    return tables({**rule, "properties": properties}, CORE["$defs"])


@cache
def _options(entry: Entry) -> st.SearchStrategy[Any]:
    rule = entry.options.model_json_schema()
    return tables({"properties": {}, **rule}, rule.get("$defs", {}))


def _component(draw: Any, entry: Entry) -> dict[str, Any]:
    spelt = draw(
        st.sampled_from(
            [entry.component.name, entry.qualified, entry.component.name.replace("_", "-")]
        )
    )
    options = draw(_options(entry))
    return {
        "kind": spelt,
        **(options if _together(entry, options) else dict(*entry.component.examples[:1])),
    }


def _together(entry: Entry, options: dict[str, Any]) -> bool:
    """Tell whether options that are allowed one by one are allowed together: JSON Schema has no
    word for that.
    """
    try:
        entry.options.model_validate_json(json.dumps(options))
    except ValidationError:
        return False
    return True


def again(resolved: Resolved, folder: Path) -> Resolved:
    """Write a resolved task elsewhere, and resolve what was written."""
    folder.mkdir(exist_ok=True)
    path = folder / "task.toml"
    path.write_text(resolved.toml(), encoding="utf-8")
    return resolve(path)


@QUICK
@given(tasks())
def test_a_resolved_task_reads_back_as_itself(
    task: Write, tmp_path: Path, drawn_task: dict[str, Any]
) -> None:
    """A resolved task, written in another folder and resolved again, has equal tables, and the same
    text.
    """
    first = resolve(task(tomli_w.dumps(drawn_task)))
    second = again(first, tmp_path / "elsewhere")
    assert second.tables() == first.tables()
    assert second.toml() == first.toml()
    assert [part.options for part in second.used] == [part.options for part in first.used]


@QUICK
@given(tasks())
def test_what_resolves_is_what_the_schema_allows(task: Write, drawn_task: dict[str, Any]) -> None:
    """A task that resolves is valid by the JSON Schema, as it was written and as it is resolved."""
    resolved = resolve(task(tomli_w.dumps(drawn_task)))
    assert not [error.message for error in VALIDATOR.iter_errors(drawn_task)]
    assert not [error.message for error in VALIDATOR.iter_errors(resolved.tables())]


@QUICK
@given(tasks(), st.data())
def test_what_was_written_is_kept(task: Write, drawn_task: dict[str, Any], data: Any) -> None:
    """Every value of the file is in the resolved task as it was, but for paths and kinds, which are
    made whole.
    """
    tables = resolve(task(tomli_w.dumps(drawn_task))).tables()
    for name, table in drawn_task.items():
        if isinstance(table, dict) and "stack" not in table:
            kept = {
                key: value for key, value in table.items() if key not in ("kind", "path", "vectors")
            }
            assert written(tables[name], kept) == kept


def written(whole: Any, part: Any) -> Any:
    """Return of a table what stands in a part of it, at every depth."""
    if not isinstance(part, dict):
        return whole
    return {key: written(whole[key], value) for key, value in part.items()}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_whole_task_reads_back_and_validates(task: Write, tmp_path: Path, name: str) -> None:
    """Every shipped task is valid by the schema, and its resolved form reads back as itself."""
    VALIDATOR.validate(tomllib.loads(WHOLE[name]))
    folder = shipped.folder() if name in shipped.tasks() else tmp_path
    first = resolve(folder / f"{name}.toml" if folder != tmp_path else task(WHOLE[name]))
    assert again(first, tmp_path / "elsewhere").tables() == first.tables()


def test_a_resolved_task_stands_on_its_own(task: Write, tmp_path: Path) -> None:
    """The resolved task holds bases and overrides, names each component in full, and extends
    nothing.
    """
    task(HELLO, name="base.toml")
    resolved = resolve(task('extends = "base.toml"\nseed = 7'), ["cell.hidden_size=5", "name=x"])
    tables = tomllib.loads(resolved.toml())
    assert "extends" not in tables
    assert (tables["seed"], tables["name"], tables["cell"]["hidden_size"]) == (7, "x", 5)
    assert {kind: tables[kind]["kind"] for kind in KINDS if kind != TRACKER} == {
        part.entry.component.kind: f"recurra/{part.entry.component.name}" for part in resolved.used
    }


def test_an_override_of_nothing_is_left_out(task: Write, tmp_path: Path) -> None:
    """A value of None, which Python's overrides may give and TOML cannot say, is not written."""
    first = resolve(task(), {"training.optimizer.foreach": None, "generation.prompt": None})
    assert again(first, tmp_path / "elsewhere").tables() == first.tables()


@QUICK
@given(TEXT)
def test_the_name_of_a_run_may_be_a_folder(task: Write, name: str) -> None:
    """A task is named by its file where it has no name, and whatever the name, it can be a
    folder's.
    """
    assume("/" not in name and "\0" not in name and "\r" not in name)
    try:
        named = resolve(task(), {"name": name}).task.name
    except InputError as error:
        assert [(problem.code, problem.key) for problem in error.problems] == [("RC013", "name")]
        path = task()
        named = resolve(path.rename(path.with_name(f"{name}.toml"))).task.name
    assert (
        (named == name or usable_name(named))
        and Path(named).name == named
        and named not in (".", "..")
    )


@pytest.mark.parametrize("name", [".", "..", "..."])
def test_a_name_of_dots_is_refused_and_not_replaced(task: Write, name: str) -> None:
    """No other name is taken silently for one that no folder can have; every other that the key
    takes is kept.
    """
    with pytest.raises(InputError) as caught:
        resolve(task(), {"name": name})
    (problem,) = caught.value.problems
    assert (problem.code, problem.key, problem.got) == ("RC013", "name", name) and problem.allowed
    assert resolve(task(), {"name": f"{name}a"}).task.name == f"{name}a"
    assert resolve(task(), {"name": "नमस्ते"}).task.name == "नमस्ते"


# The schema itself.


def test_the_schema_is_one() -> None:
    """The schema is valid as a schema, is plain JSON, and every reference in it leads somewhere."""
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    references = {part.split('"')[0] for part in json.dumps(SCHEMA).split('"#/$defs/')[1:]}
    assert references and references <= set(SCHEMA["$defs"])


def test_every_installed_component_is_in_the_schema() -> None:
    """Each component is a choice of its table, by each name under which a task finds it, and by no
    other's.
    """
    for entry in CATALOG.entries:
        choice = SCHEMA["$defs"][f"{entry.component.kind}.{entry.qualified.replace('/', '.')}"]
        names = choice["properties"]["kind"]["enum"]
        assert entry.qualified in names
        assert all(CATALOG.find(entry.component.kind, name) is entry for name in names)
        fields = {name for name, *_ in option_rows(entry.options)}
        assert (
            set(choice["properties"]) == fields | {"kind"}
            and choice["additionalProperties"] is False
        )


def test_a_name_that_two_distributions_offer_stays_clear() -> None:
    """Where another distribution offers a name too, the short name means one component or none,
    never two.
    """
    own = CATALOG.find("cell", "lstm")
    others = [
        Entry(own.component, replace(own.plugin, distribution=name)) for name in ("other", "third")
    ]
    twice = [Entry(replace(own.component, name="twin"), entry.plugin) for entry in others]
    catalog = Catalog(CATALOG.plugins, [*CATALOG.entries, *others, *twice])
    validator = Draft202012Validator(json_schema(catalog))
    for kind in (
        "lstm",
        "recurra/lstm",
        "other/lstm",
        "third/lstm",
        "other/twin",
        "twin",
        "nobody/lstm",
    ):
        try:
            catalog.find("cell", kind)
            found = True
        except InputError:
            found = False
        assert validator.is_valid({"cell": {"kind": kind}}) is found, kind


def misspelt(value: Any) -> list[Any]:
    """Return every copy of a task in which one key, at any depth, has a letter too many."""
    found = []
    if isinstance(value, dict):
        for key, inner in value.items():
            found.append({(f"{k}x" if k == key else k): v for k, v in value.items()})
            found += [{**value, key: changed} for changed in misspelt(inner)]
    return found


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_the_schema_refuses_every_misspelt_key(name: str) -> None:
    """A letter too many in any key, at any depth but where keys are free, is against the schema."""
    tables = tomllib.loads(WHOLE[name])
    tables["training"].pop("optimizer", None)
    tables.get("expect", {}).pop("metrics", None)  # whose keys are names of figures
    tables["training"]["schedule"] = {"kind": "cosine", "final": 0.1}
    VALIDATOR.validate(tables)
    copies = misspelt(tables)
    assert len(copies) > 15
    assert not [copy for copy in copies if VALIDATOR.is_valid(copy)]


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({"extends": "base.toml"}, True),
        ({"extends": 1}, False),
        ({"cell": {"stack": [{"kind": "gru"}, {"kind": "recurra/lstm"}]}}, True),
        ({"cell": {"stack": []}}, False),
        ({"cell": {"stack": [{"kind": "gru"}], "hidden_size": 1}}, False),
        ({"cell": {"stack": [{"stack": [{"kind": "gru"}]}]}}, False),
        ({"cell": {"kind": "gru", "forget_bias": 1.0}}, False),
        ({"cell": {"kind": "gru", "hidden_size": True}}, False),
        ({"encoder": {"kind": "one-hot"}}, True),
        ({"encoder": {"kind": "recurra/one-hot"}}, True),
        ({"encoder": {"kind": "lstm"}}, False),
        ({"encoder": {}}, False),
    ],
    ids=str,
)
def test_the_schema_and_the_reader_agree(task: Write, changes: dict[str, Any], valid: bool) -> None:
    """What the schema allows the reader takes, and what it forbids the reader refuses."""
    tables = {**tomllib.loads(HELLO), **changes}
    assert VALIDATOR.is_valid(tables) is valid
    if "extends" in changes and valid:
        task(HELLO, name="base.toml")
    path = task(tomli_w.dumps(tables))
    if valid:
        assert resolve(path).used
    else:
        with pytest.raises(InputError):
            resolve(path)


@pytest.mark.parametrize(
    ("table", "place", "said"),
    [
        ({"cell": {"kind": "lstm", "hiden_size": 1}}, ["cell"], "'hiden_size'"),
        ({"cell": {"kind": "lstm", "hidden_size": "x"}}, ["cell", "hidden_size"], "integer"),
        (
            {"cell": {"stack": [{"kind": "gru"}, {"kind": "gru", "forget_bias": 1}]}},
            ["cell", "stack", 1],
            "forget_bias",
        ),
        ({"cell": {"kind": "lstn"}}, ["cell", "kind"], "'lstn'"),
        ({"encoder": {"kind": "one-hot", "size": 1}}, ["encoder"], "'size'"),
        ({"source": {"kind": "csv", "columns": ["a"]}}, ["source"], "'path'"),
        (
            {"training": {"schedule": {"kind": "cosine", "finl": 1}}},
            ["training", "schedule"],
            "'finl'",
        ),
        (
            {"training": {"schedule": {"kind": "plateau", "factor": 2}}},
            ["training", "schedule", "factor"],
            "2",
        ),
        ({"training": {"schedule": {"final": 1}}}, ["training", "schedule"], "'kind'"),
    ],
)
def test_an_editor_is_told_the_key(table: dict[str, Any], place: list[Any], said: str) -> None:
    """By the schema a wrong option is one error, at its own place, which names the key or the
    value.
    """
    (error,) = VALIDATOR.iter_errors({**tomllib.loads(HELLO), **table})
    assert list(error.absolute_path) == place and said in error.message


def test_a_task_over_a_base_may_leave_out_what_the_base_has() -> None:
    """With `extends`, kinds and needed options may stand in the base; an unknown key is seen all
    the same.
    """
    VALIDATOR.validate(
        {"extends": "a.toml", "unset": "cell.block", "cell": {"hidden_size": 1}, "source": {}}
    )
    assert not VALIDATOR.is_valid({"extends": "a.toml", "cell": {"kind": "gru", "hiden_size": 1}})
