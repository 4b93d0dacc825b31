"""The page of a comparison in Chromium with the network off, on a screen and on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import chromium
from test_comparisons_drawn import SOME, SPELL, Values, written

from recurra.showing import reported


@pytest.mark.slow
def test_a_comparison_asks_for_nothing_and_nothing_overlaps(tmp_path: Path) -> None:
    """Of names of any length, with spells in them; every picture is seen, and can be pointed at."""
    values: Values = {**SOME, SPELL: [2.0, 2.1, 2.2, 2.0, 2.1], "x" * 80: [3.0, 3.5, 3.0, 3.2, 3.1]}
    page = tmp_path / "page.html"
    made = reported(written(tmp_path / "1", values, rates=[0.01, 0.1]), page)
    assert made.pictures == ["means", "differences", "improvement", "costs", "rates"]
    with chromium() as browser:
        for width in (1280, 400):
            browser.open(page, width)
            found, texts = browser.overlaps()
            assert found == [] and texts > 200
            assert browser.requests() == [] and browser.complaints() == []
            assert browser.run("return document.documentElement.scrollWidth") <= width
            assert browser.run("return document.querySelectorAll('figure svg').length") == 8
        browser.point("#improvement svg", 0.5, 0.2)
        assert "better than a run of another" in browser.tip()
