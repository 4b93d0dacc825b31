"""The colours and letters of pictures, on light and on dark paper.

The hues are those of Okabe and Ito (2008), which people who are colour-blind tell apart, a little
darker on light paper and a little lighter on dark.
"""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1d2126",
    "faint": "#68707a",
    "grid": "#e3e6ea",
    "c0": "#0b67b2",
    "c1": "#c2410c",
    "c2": "#047857",
    "c3": "#be123c",
    "c4": "#7c3aed",
    "c5": "#92590b",
    "c6": "#b83280",
    "c7": "#6b7280",
    "high": "#2a6fbe",
    "low": "#c85c18",
    "gap": "#b9bec5",
    "bright": "#ffffff",
}
DARK = {
    "paper": "#14171b",
    "ink": "#e8eaed",
    "faint": "#9aa3ad",
    "grid": "#2c3138",
    "c0": "#62aef0",
    "c1": "#f59e5b",
    "c2": "#3cc79a",
    "c3": "#fb7590",
    "c4": "#b598fb",
    "c5": "#d9a55b",
    "c6": "#ee8fc6",
    "c7": "#a3abb5",
    "high": "#3d84d6",
    "low": "#d6702c",
    "gap": "#565d66",
    "bright": "#ffffff",
}
LETTERS = (
    'system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif'  # noqa: E501
)
FIXED = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace'
COLORS = ("ink", "faint", "grid", *(f"c{n}" for n in range(8)), "high", "low", "gap", "bright")


def colors(palette: dict[str, str]) -> str:
    """Return the rules that give each class its colour."""
    rules = [f".p .{name}{{color:{palette[name]}}}" for name in COLORS]
    return (
        f".p .paper{{fill:{palette['paper']}}}.p text{{fill:{palette['ink']}}}"
        + "".join(rules)
        + f".p text.faint{{fill:{palette['faint']}}}.p text.bright{{fill:{palette['bright']}}}"
    )


def style(dark: bool = True) -> str:
    """Return the style of a picture that stands alone, by default on dark paper where it is so."""
    rules = shapes() + colors(LIGHT)
    if dark:
        rules += "@media screen and (prefers-color-scheme:dark){" + colors(DARK) + "}"
    return rules


def shapes() -> str:
    """Return what letters and lines look like, on any paper."""
    return (
        f".p{{font-family:{LETTERS};font-size:12px}}"
        ".p .line{fill:none;stroke:currentColor;stroke-width:1.6;stroke-linejoin:round}"
        ".p .dashed{stroke-dasharray:5 4}"
        ".p .fill{fill:currentColor;stroke:none}"
        ".p .band{fill:currentColor;fill-opacity:.16;stroke:none}"
        ".p .tagged{fill:currentColor;fill-opacity:.3;stroke:none}"
        ".p .thin{fill:none;stroke:currentColor;stroke-width:1}"
        ".p .heading{font-size:13px;font-weight:600}"
        ".p .title{font-size:16px;font-weight:600}"
        f".p .fixed{{font-family:{FIXED}}}"
    )
