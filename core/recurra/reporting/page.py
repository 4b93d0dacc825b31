"""One page that holds all pictures of one or several runs, and asks for nothing from elsewhere.

What the data says becomes text and attributes alone, through `recurra.drawing.markup`. Should that
ever fail, the policy at the head of the page still lets no script run but its own, by its hash, and
loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files as resources
from typing import Any

import recurra
from recurra.drawing import Picture, Table
from recurra.drawing.markup import Markup, joined, own, tag
from recurra.drawing.style import DARK, FIXED, LETTERS, LIGHT, colors, shapes
from recurra.drawing.words import number
from recurra.errors import RecurraError
from recurra.reporting.curves import label, together
from recurra.reporting.subjects import pictures
from recurra.reporting.view import Left, View

LARGEST = 1_000_000
"""Bytes of a page, at most."""
LONGEST_TASK = 30_000
"""Letters of a task that a page shows."""
ALWAYS = ("figures", "curves", "together")
"""Pictures that are never left out to keep a page small."""
NOTED = (
    "recurra", "python", "torch", "numpy", "device", "gpu", "threads", "processes",
    "processes_since", "platform", "processor", "cpu", "paths", "step_paths",
)  # fmt: skip
"""What is told of environment.json, first to last."""


@dataclass
class Part:
    """A picture of a run in a page: how it is written, and whether with its data."""

    view: View | None
    picture: Picture
    key: str
    level: int
    data: bool = True
    left: bool = False
    _made: dict[bool, Markup] = field(default_factory=dict)

    def html(self) -> Markup:
        """Return it as it stands in the page."""
        if self.data not in self._made:
            self._made[self.data] = self.picture.html(self.key, self.level, self.data)
        return self._made[self.data]

    def size(self) -> int:
        """Return how many bytes it takes now."""
        return 0 if self.left else len(self.html().encode("utf-8", "replace"))


@dataclass
class Chapter:
    """A run in a page: its pictures, and which it has not, with the reasons."""

    view: View
    key: str
    parts: list[Part]
    lacking: list[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """A page: its text, the names of the pictures that it shows, and why others are left out."""

    text: str
    shown: list[str]
    left_out: dict[str, str]


def page(views: Sequence[View], most: int = LARGEST) -> Page:
    """Return the page of one or several runs, of at most so many bytes."""
    alone = len(views) == 1
    chapters = [_chapter(view, "" if alone else f"run{n}-", alone) for n, view in enumerate(views)]
    shared = [] if alone else _shared(views)
    parts = [*shared, *(part for chapter in chapters for part in chapter.parts)]
    title = views[0].name if alone else f"{len(views)} runs"

    def body() -> list[Markup]:
        pictures = [part.html() for part in shared if not part.left]
        runs = [_written(chapter, alone) for chapter in chapters]
        return [_title(views), _links(chapters, alone), *pictures, *runs]

    text = _fitted(title, parts, body, most)
    shown = [f"{part.key}{part.picture.name}" for part in parts if not part.left]
    left_out = {
        f"{chapter.key}{name}": why for chapter in chapters for name, why in chapter.lacking
    }
    left_out |= {f"{p.key}{p.picture.name}": "the page is full" for p in parts if p.left}
    return Page(text, shown, left_out)


def page_of(title: str, head: Markup, made: Sequence[Picture], most: int = LARGEST) -> Page:
    """Return the page of some pictures of one thing, below a head that says what it is."""
    parts = [Part(None, picture, "", 2) for picture in made]

    def body() -> list[Markup]:
        shown = [part for part in parts if not part.left]
        links = [tag("a", part.picture.title, href=f"#{part.picture.name}") for part in shown]
        full = [f"{part.picture.name}: the page is full." for part in parts if part.left]
        full += [f"{p.picture.name}, its data: the page is full." for p in shown if not p.data]
        told = [tag("ul", *(tag("li", item) for item in full))] if full else []
        foot = [tag("footer", "Left out", *told, class_="lacking")] if full else []
        return [head, tag("nav", *links), *(part.html() for part in shown), *foot]

    text = _fitted(title, parts, body, most)
    left_out = {part.picture.name: "the page is full" for part in parts if part.left}
    return Page(text, [p.picture.name for p in parts if not p.left], left_out)


def _fitted(title: str, parts: list[Part], body: Callable[[], list[Markup]], most: int) -> str:
    """Return a page of no more than so many bytes, leaving out of it what has no room.

    What is said of that takes room as well.
    """
    while True:
        text = _whole(title, body())
        over = len(text.encode("utf-8", "replace")) - most
        if over <= 0 or not _fit(parts, sum(part.size() for part in parts) - over):
            return text


def _whole(title: str, body: Sequence[Markup]) -> str:
    """Return a page of a title that holds a body."""
    sheet = tag("div", *body, _foot(), class_="sheet")
    script = tag("script", own(_text("page.js")))
    whole = tag("html", _head(title), tag("body", sheet, script), lang="en")
    return f"<!doctype html>\n{whole}\n"


def _chapter(view: View, key: str, alone: bool) -> Chapter:
    parts, lacking = [], []
    for subject, made in pictures(view):
        if isinstance(made, Left):
            lacking.append((subject.name, str(made)))
        else:
            parts.append(Part(view, made, key, 2 if alone else 3))
    return Chapter(view, key, parts, lacking)


def _shared(views: Sequence[View]) -> list[Part]:
    """Return what shows several runs beside each other."""
    try:
        return [Part(None, together(views), "", 2)]
    except (Left, RecurraError):
        return []


def _fit(parts: list[Part], room: int) -> bool:
    """Leave out the data of the largest pictures, then the largest, until the rest has room.

    Tells whether there was any to be left out.
    """
    left = False
    for drop in ("data", "left"):
        while sum(part.size() for part in parts) > room:
            able = [
                part
                for part in parts
                if not part.left
                and (part.data if drop == "data" else part.picture.name not in ALWAYS)
            ]
            if not able:
                break
            largest, left = max(able, key=Part.size), True
            if drop == "data":
                largest.data = False
            else:
                largest.left = True
    return left


def _head(title: str) -> Markup:
    script = hashlib.sha256(_text("page.js").encode("utf-8")).digest()
    allowed = f"'sha256-{base64.b64encode(script).decode()}'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"recurra {recurra.__version__}"),
        tag("title", title),
        tag("style", own(_style())),
    )


def _style() -> str:
    def variables(palette: dict[str, str]) -> str:
        return "".join(f"--{name}:{value};" for name, value in palette.items())

    letters = f"--letters:{LETTERS};--fixed:{FIXED};"
    light = f":root{{{letters}{variables(LIGHT)}}}{shapes()}{colors(LIGHT)}"
    for name in (*(f"c{n}" for n in range(8)), "high", "low"):
        light += f".tagged.{name}{{color:var(--{name});background:currentColor}}"
        light += f".shaded.{name}{{--hue:var(--{name})}}"
    dark = f":root{{{variables(DARK)}}}{colors(DARK)}"
    return f"{light}\n{_text('page.css')}@media screen and (prefers-color-scheme:dark){{{dark}}}"


def _text(name: str) -> str:
    return resources("recurra.reporting").joinpath(name).read_text(encoding="utf-8")


def _title(views: Sequence[View]) -> Markup:
    """Return the head of the page: of one run its verdict, of several a table."""
    if len(views) == 1:
        return tag("header", tag("h1", views[0].name), _verdict(views[0]), _facts(views[0]))
    rows = []
    for view in views:
        row = view.row
        beats = {True: "yes", False: "no"}.get(row["beats_baselines"], "")
        rows.append(
            [
                label(view), row["cell"], row["parameters"], row["steps"], row["split"],
                row["metric"], row["value"], row["baseline"], row["baseline_value"], beats,
                row["state"],
            ]
        )  # fmt: skip
    headings = (
        "run", "cell", "parameters", "updates", "split", "figure", "value", "best baseline",
        "its value", "beats it", "state",
    )  # fmt: skip
    told = Table("", headings, rows, wide=True).flowing()
    names = " and ".join(sorted({view.name for view in views}))
    parts = [tag("h1", f"{len(views)} runs of {names}"), tag("div", told, class_="scroll")]
    if len({(view.row["metric"], view.row["split"], view.name) for view in views}) > 1:
        words = "They are not of one task, figure and split: what differs may be what was asked."
        parts.append(tag("p", words, class_="caption"))
    return tag("header", *parts)


def _verdict(view: View) -> Markup:
    told = view.result.get("verdict")
    if isinstance(told, str) and told:
        beats = view.result.get("beats_baselines") is True
        return tag("p", told, class_="verdict beats" if beats else "verdict short")
    why = view.row.get("why")
    words = f"This run is {view.state}{f': {why}' if why else ''}."
    return tag("p", words, class_="verdict short")


def _facts(view: View) -> Markup:
    """Return the few things that tell one run from another."""
    row = view.row
    seconds = row["seconds"]
    facts = [
        ("cell", row["cell"]),
        ("target", row["target"]),
        ("parameters", row["parameters"]),
        ("updates", row["steps"]),
        ("seed", row["seed"]),
        ("measured on", row["split"]),
        ("time", None if seconds is None else f"{number(seconds, 3)} s"),
        ("tokens a second", _rounded(view.result.get("tokens_per_second"))),
        ("state", row["state"]),
        ("written", _when(row["when"])),
        ("run", view.path),
    ]
    pairs = [
        tag("div", tag("dt", name), tag("dd", number(value)))
        for name, value in facts
        if value is not None
    ]
    return tag("dl", *pairs, class_="facts")


def _rounded(value: Any) -> Any:
    """Return a number without what stands behind its point."""
    return round(value) if isinstance(value, float) and math.isfinite(value) else value


def _when(moment: str | None) -> str | None:
    """Return a moment of UTC as people write it."""
    return None if moment is None else f"{moment[:16].replace('T', ' ')} UTC"


def _links(chapters: list[Chapter], alone: bool) -> Markup:
    links = []
    for chapter in chapters:
        if not alone:
            links.append((f"#{chapter.key}run", label(chapter.view)))
            continue
        for part in chapter.parts:
            if not part.left:
                links.append((f"#{chapter.key}{part.picture.name}", part.picture.title))
        links += [("#task", "Task"), ("#environment", "Made with")]
    return tag("nav", *(tag("a", name, href=address) for address, name in links))


def _written(chapter: Chapter, alone: bool) -> Markup:
    """Return a run of the page: what it is, its pictures, its task, and what is left out."""
    parts = [part.html() for part in chapter.parts if not part.left]
    if alone:
        return joined(*parts, _frame_of(chapter, alone), _lacking(chapter))
    view = chapter.view
    head = [tag("h2", label(view)), _verdict(view), _facts(view)]
    inner = [*head, *parts, _frame_of(chapter, alone), _lacking(chapter)]
    return tag("section", *inner, class_="run", id=f"{chapter.key}run")


def _frame_of(chapter: Chapter, alone: bool) -> Markup:
    """Return the task of a run, and what it was made with."""
    view, key, level = chapter.view, chapter.key, 2 if alone else 3
    text = view.task_text
    if len(text) > LONGEST_TASK:
        rest = f"\n... and {len(text) - LONGEST_TASK:,} letters more, in {view.path / 'task.toml'}"
        text = text[:LONGEST_TASK] + rest
    task = [
        tag(f"h{level}", "Task"),
        tag("p", "As it was resolved, with every default.", class_="caption"),
    ]
    task.append(tag("pre", text.strip() or "task.toml cannot be read"))
    made = Table("", ("what", "is"), [*_made_with(view)]).flowing()
    environment = [tag(f"h{level}", "Made with"), tag("div", made, class_="scroll")]
    return joined(
        tag("section", *task, class_="plain", id=f"{key}task"),
        tag("section", *environment, class_="plain", id=f"{key}environment"),
    )


def _made_with(view: View) -> Iterator[tuple[str, str]]:
    """Give what the run ran on and of what: versions, machine, paths taken, components, data."""
    environment = view.json("environment.json")
    for name in NOTED:
        if environment.get(name) not in (None, "", []):
            yield name.replace("_", " "), _words(environment[name])
    try:
        components = view.folder.records.plugins()
    except RecurraError as error:
        yield "components", f"unknown: {Left.by(error)}"
    else:
        for each in components:
            yield each.kind, f"{each.name}, of {each.distribution} {each.version}"
    data = view.json("data.json")
    if isinstance(data.get("fingerprint"), str):
        yield "data", f"fingerprint {data['fingerprint']}"
    origin = view.json("origin.json")
    if origin.get("run"):
        yield "starts from", f"{origin['run']}, step {origin.get('step')}"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{key}: {each}" for key, each in value.items()]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _lacking(chapter: Chapter) -> Markup:
    """Return what is damaged of a run, which pictures it has not, and which have no room."""
    view = chapter.view
    items = [*view.damage, *(f"{name}: {why}." for name, why in chapter.lacking)]
    for part in chapter.parts:
        name = part.picture.name
        command = f"recurra plot {view.path} {name}"
        if part.left:
            items.append(f"{name}: the page is full. `{command} -o {name}.svg`")
        elif not part.data:
            items.append(f"{name}, its data: the page is full. `{command} -o {name}.csv`")
    if not items:
        return joined()
    told = tag("ul", *(tag("li", item) for item in items))
    return tag("footer", "Left out", told, class_="lacking")


def _foot() -> Markup:
    words = (
        f"Made by recurra {recurra.__version__} from files of runs. Point at a picture for its "
        "values, or move along it with the arrow keys. A click on a row of a map of units draws it "
        "below, where a span is picked by dragging. Nothing is loaded from elsewhere."
    )
    return tag("footer", tag("p", words))
