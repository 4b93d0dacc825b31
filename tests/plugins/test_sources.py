"""Sources that are no files, and what all sources say of their options."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from sheets import gathered

from recurra import InputError
from recurra_sources.inline import Inline, InlineOptions
from recurra_sources.python_docs import PythonDocs, PythonDocsOptions


@pytest.mark.parametrize(
    ("options", "element", "wanted"),
    [
        ({"text": "hello"}, "text", ["hello"]),
        ({"text": "a\0\r\n"}, "text", ["a\0\r\n"]),
        ({"texts": ["a", "", "bc"]}, "text", ["a", "bc"]),
        ({"texts": []}, "text", []),
        ({"tokens": ["up", "down"]}, "tokens", [["up", "down"]]),
        ({"tokens": []}, "tokens", []),
        ({"values": [1.0, 2.5]}, "numbers", [[[1], [2.5]]]),
        ({"values": [[1.0, 2.0], [3.0, 4.0]]}, "numbers", [[[1, 2], [3, 4]]]),
        ({"values": []}, "numbers", []),
        ({"series": [[1.0], [2.0, 3.0]]}, "numbers", [[[1]], [[2], [3]]]),
        ({"series": [[], [2.0]]}, "numbers", [[[2]]]),
    ],
)
def test_inline_gives_what_it_holds(options, element, wanted):
    """Each of the five forms gives its sequences; empty ones give nothing. Its fingerprint follows
    the content.
    """
    source = Inline(InlineOptions(**options))
    assert gathered(source, element) == wanted
    assert gathered(source, element) == wanted
    assert source.fingerprint() == Inline(InlineOptions(**options)).fingerprint()
    assert source.fingerprint() != Inline(InlineOptions(text="another")).fingerprint()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "got none"),
        ({"text": "a", "tokens": ["b"]}, "got .*text.*tokens"),
        ({"values": [[1.0], [1.0, 2.0]]}, r"same number of features; got \[1, 2\]"),
        ({"values": [[], []]}, "one has none"),
    ],
)
def test_inline_takes_one_form(options, words):
    """None, two, or steps of different widths are refused with the task."""
    with pytest.raises(ValidationError, match=words):
        InlineOptions(**options)


@pytest.mark.parametrize(
    ("options", "holds"),
    [({"text": "a"}, "text"), ({"tokens": ["a"]}, "tokens"), ({"values": [1.0]}, "numbers")],
)
def test_inline_says_what_it_holds(options, holds):
    """A vocabulary that reads something else gets an error that names both."""
    for element in {"text", "tokens", "numbers"} - {holds}:
        with pytest.raises(
            InputError, match=rf"holds {holds}, but the vocabulary reads {element} \[RC030\]"
        ):
            gathered(Inline(InlineOptions(**options)), element)


def test_the_documentation_of_python_reads_twice_the_same():
    """It is one long text, with a fingerprint that stays."""
    one, other = PythonDocs(PythonDocsOptions()), PythonDocs(PythonDocsOptions())
    (first,), (second,) = gathered(one), gathered(other)
    assert first == second
    assert len(first) > 300_000
    assert one.fingerprint() == one.fingerprint() == other.fingerprint()


@pytest.mark.parametrize(
    "options", [{"text": "a\ud83d"}, {"texts": ["a", "\ude00b"]}, {"tokens": ["a", "\ud83d"]}]
)
def test_inline_refuses_half_a_surrogate_pair(options):
    """What Python lets a text hold and no file can is refused before it is trained on."""
    element = "tokens" if "tokens" in options else "text"
    with pytest.raises(InputError, match=r"holds '.u(d83d|de00)', half a surrogate pair \[RC042\]"):
        gathered(Inline(InlineOptions(**options)), element)
