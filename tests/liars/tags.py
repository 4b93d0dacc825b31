"""Sources whose tags are wrong, and right ones that they are made of."""

from __future__ import annotations

from liars import Liar, sources
from liars.sources import Right, RightFile
from recurra import Component, Piece


class RightTags(Right):
    """Two sequences, with a tag for each character."""

    def columns(self):
        return {"input": self.offers, "tags": ("text",)}

    def read(self, element):
        for piece in super().read(element):
            yield piece._replace(columns={"tags": self.tags(piece)})

    def tags(self, piece):
        return ["vowel" if mark in "aeiou" else "other" for mark in piece.values]


class TagsFromTheSecond(RightTags):
    """Begins with the tag of the second character."""

    def tags(self, piece):
        return super().tags(piece)[1:]


class TagsTheFirstPiece(RightTags):
    """Has tags for the piece that begins a sequence, and no other."""

    def read(self, element):
        for piece in super().read(element):
            yield piece if piece.start else Piece(piece.values, piece.start)


class TagsAtOnce(RightTags):
    """Gives all tags of a sequence with its first piece."""

    def read(self, element):
        first, second, third = super().read(element)
        together = [*first.columns["tags"], *second.columns["tags"]]
        yield first._replace(columns={"tags": together})
        yield second._replace(columns={"tags": []})
        yield third


class TagsInAText(RightTags):
    """Gives a text for tags, a character each."""

    def tags(self, piece):
        return "".join(tag[0] for tag in super().tags(piece))


class LeavesATagBlank(RightTags):
    """Has nothing to say of some elements, and says it."""

    def tags(self, piece):
        return [tag if tag == "vowel" else " " for tag in super().tags(piece)]


class CountsItsTags(RightTags):
    """Gives numbers for tags."""

    def tags(self, piece):
        return [len(tag) for tag in super().tags(piece)]


class KeepsItsTagsSecret(RightTags):
    """Gives tags, and names none."""

    def columns(self):
        return {"input": self.offers}


class TurnsItsTags(RightTags):
    """Moves its tags on with each reading."""

    turns = 0

    def tags(self, piece):
        self.turns += 1
        tags = super().tags(piece)
        turn = self.turns % len(tags)
        return tags[turn:] + tags[:turn]


class FillsOneList(RightTags):
    """Gives the same list of tags each time, with others in it."""

    def read(self, element):
        given = []
        for piece in Right.read(self, element):
            given[:] = self.tags(piece)
            yield Piece(piece.values, piece.start, {"tags": given})


class HandsOutItsTags(RightTags):
    """Keeps lists of tags, and gives these themselves."""

    def __init__(self, options):
        super().__init__(options)
        self.lists = [RightTags.tags(self, piece) for piece in Right.read(self, "text")]

    def read(self, element):
        for piece, tags in zip(Right.read(self, element), self.lists, strict=True):
            yield piece._replace(columns={"tags": tags})


class RightTagFile(RightFile):
    """The text of a file, each character tagged as space or not."""

    def columns(self):
        return {"input": self.offers, "tags": ("text",)}

    def read(self, element):
        for piece in super().read(element):
            tags = ["space" if mark.isspace() else "other" for mark in piece.values]
            yield piece._replace(columns={"tags": tags})


class SlipsAtABlock(RightTagFile):
    """Takes for the first character of a block the tag of the one before it."""

    def read(self, element):
        count, last = 0, "other"
        for piece in super().read(element):
            tags = piece.columns["tags"]
            for index, tag in enumerate(tags):
                if count and count % 65536 == 0:
                    tags[index] = last
                count, last = count + 1, tag
            yield piece._replace(columns={"tags": tags})


def component(name: str, options: str = "Plain") -> Component:
    """Return a source of this module as a plugin would describe it."""
    return sources.component(name, options, __name__)


RIGHT = [component("RightTags"), component("RightTagFile", "FileOptions")]

LIARS = [
    Liar("S01", component("TurnsItsTags"), frozenset({"S08", "S09"})),
    Liar("S01", component("FillsOneList")),
    Liar("S07", component("SlipsAtABlock", "FileOptions")),
    Liar("S09", component("HandsOutItsTags")),
    Liar("S12", component("TagsFromTheSecond")),
    Liar("S12", component("TagsTheFirstPiece")),
    Liar("S12", component("TagsAtOnce")),
    Liar("S12", component("TagsInAText")),
    Liar("S12", component("LeavesATagBlank")),
    Liar("S12", component("CountsItsTags")),
    Liar("S12", component("KeepsItsTagsSecret")),
]
