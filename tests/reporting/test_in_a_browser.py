"""Pages in Chromium with the network off: nothing is asked for, nothing overlaps, all can be used.

They are slow: a browser is started, and a few small runs are trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, chromium
from conftest import REPOSITORY
from pictured import records, run_folder
from test_pictures import seen

import recurra
from recurra.drawing import (
    Axis,
    Band,
    Bars,
    HeatMap,
    Line,
    Picture,
    Piece,
    Plot,
    Points,
    Rule,
    Table,
    Tagged,
)
from recurra.drawing.style import DARK, LIGHT
from recurra.reporting import page as pages
from recurra.reporting import subjects
from recurra.reporting.view import View

pytestmark = pytest.mark.slow
SIZES = (1280, 400)
HOSTILE = "</title></script><script>window.hacked = 1</script><img src=x onerror='window.hacked=2'>"
TRAINED = {
    "hello_lstm": {"training.epochs": 20},
    "airline": {"training.steps": 20},
    "digits": {"training.steps": 30},
    "japanese_vowels": {"training.steps": 10},
    "dates": {"training.steps": 10},
    "python_tokens": {"training.steps": 5},
    "sine_phase": {"training.steps": 10},
}
"""Tasks of every kind of answer, in seconds."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all tests here."""
    with chromium() as opened:
        yield opened


def every_kind(view: View) -> Picture:
    """Return a picture with each kind of panel and of mark, names that are long among them."""
    r = np.random.default_rng(0)
    steps = np.arange(0, 5000)
    loss = 3 * np.exp(-steps / 2000) + 0.1 * r.standard_normal(5000) + 0.5
    loss[2000] = np.nan
    x = np.arange(24)
    waves = np.sin(np.arange(120) / 6 + np.arange(40)[:, None])
    names = ["Cyrillic letters", "Greek and Coptic", "日本語の文字です", "x"] * 3
    state = HeatMap("hidden state", waves, diverging=True, pick="rows")
    counts = HeatMap("sequences", np.eye(10) * 30 + r.integers(0, 3, (10, 10)), shown=True)
    shares = HeatMap("share", r.random((12, 12)))
    digits = list("0123456789")
    panels = [
        Plot(
            "Loss",
            Axis("updates", low=0),
            Axis("loss", "nats"),
            [
                Line("training", steps, loss),
                Line("validation", steps[::100], loss[::100] + 0.2, 1),
                Rule("best step, 4,000", x=4000),
            ],
            wide=True,
        ),
        Plot(
            "Figures",
            Axis("accuracy"),
            Axis("", names=["model", "a baseline with a long name", HOSTILE]),
            [Bars("accuracy", [0, 1, 2], [0.9, 0.5, 0.7], across=True)],
            height=70,
        ),
        Plot(
            "Forecast",
            Axis("steps ahead"),
            Axis("passengers", "1,000"),
            [
                Band("95 %", x, x - 4.0, x + 5.0),
                Line("forecast", x, x + 0.2),
                Points("came", x, x + r.standard_normal(24), "ink"),
            ],
        ),
        Plot(
            "By step",
            Axis("ahead"),
            Axis("MAE"),
            [Bars("model", x[1:], x[1:]), Bars("naive", x[1:], x[1:] + 2, 1)],
        ),
        Plot("Norms", Axis("lag"), Axis("norm", scale="log"), [Line("norm", x, 10.0 ** -(x / 3))]),
        Plot("Confusion", Axis("said", names=digits), Axis("came", names=digits), [counts]),
        Plot("Long names", Axis("said", names=names), Axis("came", names=names), [shares]),
        Plot("States", Axis("step"), Axis("unit"), [state], height=240, wide=True),
        Table(
            "Table", ["name", "value", HOSTILE], [["a", 0.123456, HOSTILE], ["b", None, "x" * 80]]
        ),
        Tagged(
            "Tags",
            [Piece("def ", "keyword"), Piece("日本 f", "name", wrong=True), Piece("()\n", HOSTILE)],
        ),
        Tagged(
            "Shades", [Piece(c, shade=n / 40 - 0.5) for n, c in enumerate("quick brown foxes " * 2)]
        ),
    ]
    return Picture("every-kind", "Every kind", panels, "A caption of some length, " * 12)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The page of a run, made by hand, with a picture of every kind; its name is hostile."""
    place = tmp_path_factory.mktemp("everything")
    folder = run_folder(place / "1", name=HOSTILE, lines=records(300, bad=[17]))
    with pytest.MonkeyPatch.context() as patch:
        subject = subjects.Subject("every-kind", "Every kind", "test_in_a_browser:every_kind")
        patch.setattr(subjects, "SUBJECTS", (*subjects.SUBJECTS[:3], subject))
        made = pages.page([seen(folder)])
    assert "every-kind" in made.shown, made.left_out
    path = place / "report.html"
    path.write_text(made.text, encoding="utf-8")
    yield path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page for each of some trained tasks, and one of three of them."""
    place = tmp_path_factory.mktemp("trained")
    paths, runs = {}, []
    for name, overrides in TRAINED.items():
        run = recurra.run(REPOSITORY / "tasks" / f"{name}.toml", overrides, runs=place / "runs")
        runs.append(run)
        paths[name] = recurra.report(run, place / f"{name}.html")
    paths["several"] = recurra.report(runs[:3], place / "several.html")
    return paths


@pytest.fixture(scope="module", params=["everything", *TRAINED, "several"])
def page(request: pytest.FixtureRequest) -> Path:
    """Each page of all."""
    if request.param == "everything":
        return Path(request.getfixturevalue("everything"))
    return Path(request.getfixturevalue("trained")[request.param])


@pytest.mark.parametrize("width", SIZES)
def test_a_page_asks_for_nothing_and_nothing_overlaps(
    page: Path, browser: Browser, width: int
) -> None:
    """At both widths: no request, no complaint, no two texts over each other, nothing cut off."""
    assert page.stat().st_size <= 1_000_000
    browser.open(page, width)
    assert browser.requests() == []
    assert browser.complaints() == []
    found, texts = browser.overlaps()
    assert texts > 30
    assert found == []
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_the_look_for_overlaps_sees_one(everything: Path, browser: Browser) -> None:
    """The measure itself: a text that is moved over another is found."""
    browser.open(everything)
    browser.run("document.querySelectorAll('svg text').forEach(t => t.setAttribute('x', 30))")
    assert browser.overlaps()[0]


@pytest.mark.parametrize("width", SIZES)
def test_every_picture_is_seen(page: Path, browser: Browser, width: int) -> None:
    """Each picture that is shown has a size, something drawn in it, and letters one can read."""
    browser.open(page, width)
    pictures = browser.run(
        """const seen = [...document.querySelectorAll("svg.p")].filter(s => s.checkVisibility());
        return seen.map(s => {
          const box = s.getBoundingClientRect(), scale = box.width / s.viewBox.baseVal.width;
          return [box.width, box.height, s.querySelectorAll("path,rect,circle,image").length,
                  scale * parseFloat(getComputedStyle(s).fontSize), s.getAttribute("aria-label")];
        })"""
    )
    assert len(pictures) >= 2
    for wide, high, shapes, letters, title in pictures:
        assert wide > 300 and high > 60 and shapes > 2 and title
        assert letters >= 9.5
    assert len(browser.shot()) > 20_000


def test_pointing_tells_values_of_the_data(everything: Path, browser: Browser) -> None:
    """What is told beside the pointer is a row of the csv behind the picture."""
    browser.open(everything)
    browser.point("#curves svg", 0.5, 0.5)
    lines = browser.tip().splitlines()
    loss = "(cross entropy)"
    said = [line.partition(":")[0] for line in lines]
    assert said == ["updates", f"training {loss}", f"validation {loss}"]
    step = int(lines[0].split()[1])
    told = {r["step"]: r["loss"] for r in records(300) if r["split"] == "train"}
    assert float(lines[1].split()[-1]) == pytest.approx(told[step], rel=1e-4)
    browser.point("h1", 0.1, 0.5)
    assert browser.tip() == ""


def test_pointing_at_bars_and_maps_names_what_is_there(everything: Path, browser: Browser) -> None:
    """A bar tells its name and its value, a cell its row, its column and its value."""
    browser.open(everything)
    browser.point("#every-kind .panel:nth-child(2) svg", 0.6, 0.4)
    assert browser.tip().splitlines()[1].startswith("accuracy: 0.")
    browser.point("#every-kind .panel:nth-child(6) svg", 0.5, 0.5)
    row, column, value = browser.tip().splitlines()
    assert row.startswith("came ") and column.startswith("said ") and value.isdigit()


@pytest.mark.parametrize(("width", "form"), [(1280, "full"), (400, "slim")])
def test_a_row_of_a_map_is_picked(
    everything: Path, browser: Browser, width: int, form: str
) -> None:
    """A click on a row draws it as the line below; another row, another line."""
    browser.open(everything, width)
    selector = f"#every-kind .panel:nth-child(8) svg.{form}"
    drawn = set()
    for down in (0.2, 0.5):
        browser.point(selector, 0.5, down, press=True)
        row = browser.run(f"return document.querySelector('{selector} g.picked').dataset.row")
        name = browser.run(f"return document.querySelector('{selector} text.name').textContent")
        drawn.add(
            browser.run(f"return document.querySelector('{selector} path.trace').getAttribute('d')")
        )
        assert name == f"unit {row}"
    assert len(drawn) == 2


def test_a_span_shows_where_the_same_rows_are_on(everything: Path, browser: Browser) -> None:
    """Dragging over the line marks the span, and every place with the same pattern: the waves of
    the data come again every 37.7 steps.
    """
    browser.open(everything)
    selector = "#every-kind .panel:nth-child(8) svg.full"
    browser.point(selector, 0.3, 0.88)
    box = browser.run(
        f"const line = document.querySelector('{selector} path.trace');"
        "const r = line.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]"
    )
    y = box[1] + box[3] / 2
    first, last = box[0] + box[2] * 0.405, box[0] + box[2] * 0.43
    for kind, x in (
        ("mouseMoved", first),
        ("mousePressed", first),
        ("mouseMoved", last),
        ("mouseReleased", last),
    ):
        browser.mouse(kind, x, y)
    said = browser.run("return document.querySelector('#every-kind p.said').textContent")
    assert said.startswith("On at each of these places: unit ")
    assert "All of them again at step" in said
    assert browser.run(f"return document.querySelectorAll('{selector} g.spans rect').length") >= 3


def test_the_keys_move_along_a_picture(everything: Path, browser: Browser) -> None:
    """With Tab and arrows alone every value can be reached."""
    from selenium.webdriver.common.keys import Keys

    browser.open(everything)
    picture = browser.driver.find_element(
        "css selector", "#every-kind .panel:nth-child(8) svg.full"
    )
    picture.send_keys(Keys.ARROW_RIGHT)
    one = browser.tip()
    picture.send_keys(Keys.ARROW_RIGHT)
    assert one and browser.tip() != one
    row = browser.run("return document.querySelector('#every-kind svg.full g.picked').dataset.row")
    picture.send_keys(Keys.ARROW_DOWN)
    after = browser.run(
        "return document.querySelector('#every-kind svg.full g.picked').dataset.row"
    )
    assert after != row


def test_the_data_open_as_a_table(everything: Path, browser: Browser) -> None:
    """Behind "data" stand the values, as in the csv: as text, whatever they hold."""
    browser.open(everything)
    panel = "#every-kind .panel:nth-child(9)"
    browser.run(f"document.querySelector('{panel} details').open = true")
    browser.run("return new Promise(requestAnimationFrame)")
    cells = browser.run(
        f"return [...document.querySelectorAll('{panel} details td')].map(t => t.textContent)"
    )
    assert cells == ["a", "0.123456", HOSTILE, "b", "", "x" * 80]
    assert browser.run("return window.hacked") is None


def test_no_text_of_the_data_runs(everything: Path, browser: Browser) -> None:
    """A task's name with a script in it is read as it stands, and runs nothing."""
    browser.open(everything)
    assert browser.run("return document.querySelector('h1').textContent") == HOSTILE
    assert browser.run("return document.title") == HOSTILE
    assert browser.run("return [window.hacked ?? 0, document.scripts.length]") == [0, 1]


def test_the_policy_of_a_page_stops_what_an_escape_would_let_through(
    everything: Path, browser: Browser, tmp_path: Path
) -> None:
    """With markup put in by hand no other script runs, and nothing from elsewhere is asked for."""
    text = everything.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    evil = "<h1><script>window.hacked=1</script><img src='https://example.org/x.png'>"
    broken.write_text(text.replace("<h1>", evil, 1), encoding="utf-8")
    browser.open(broken)
    assert browser.run("return window.hacked ?? 0") == 0
    assert browser.requests() == []
    assert browser.complaints()


@pytest.mark.parametrize(("scheme", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_a_page_is_light_or_dark_as_its_reader_is(
    everything: Path, browser: Browser, scheme: str, palette: dict[str, str]
) -> None:
    """Paper, ink and lines have the colours of the scheme."""
    browser.open(everything, prefers_color_scheme=scheme)

    def color(selector: str, name: str) -> str:
        script = f"return getComputedStyle(document.querySelector('{selector}'))['{name}']"
        parts = browser.run(script).removeprefix("rgb(").removesuffix(")").split(",")
        return "#" + "".join(f"{int(part):02x}" for part in parts)

    assert color("body", "backgroundColor") == palette["paper"]
    assert color("body", "color") == palette["ink"]
    assert color("#curves svg path.c0", "stroke") == palette["c0"]
    assert color("#curves svg text.faint", "fill") == palette["faint"]


def test_a_page_is_printed(everything: Path, browser: Browser) -> None:
    """On paper it is light, without what only a screen has, and nothing overlaps."""
    browser.open(everything, 800, type="print", prefers_color_scheme="dark")
    shown = browser.run(
        "const only = [...document.querySelectorAll('nav,details.data')];"
        "return only.filter(e => e.checkVisibility()).length"
    )
    assert shown == 0
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert browser.overlaps()[0] == []
    content = browser.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(content) > 40_000


def test_a_picture_that_stands_alone_is_seen(
    everything: Path, browser: Browser, tmp_path: Path
) -> None:
    """An SVG file opens in a browser: no request, no complaint, texts apart."""
    path = tmp_path / "every.svg"
    path.write_text(every_kind(None).svg(), encoding="utf-8")  # type: ignore[arg-type]
    browser.open(path)
    assert browser.requests() == [] and browser.complaints() == []
    html = tmp_path / "every.html"
    html.write_text(f"<!doctype html><meta charset=utf-8>{path.read_text().partition('?>')[2]}")
    browser.open(html)
    found, texts = browser.overlaps()
    assert found == [] and texts > 100
