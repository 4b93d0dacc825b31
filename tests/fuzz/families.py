"""All kinds of cases, and how much of a round each is."""

from fuzz import folders, tasks
from fuzz.cases import Family

FAMILIES: dict[str, tuple[Family, int]] = {
    family.__name__: (family, share)
    for family, share in (
        (tasks.each_value, 60),
        (tasks.values_of_keys, 60),
        (tasks.lines, 40),
        (tasks.characters, 60),
        (tasks.overrides, 40),
        (tasks.commands, 60),
        (folders.runs, 60),
        (folders.sessions, 60),
        (folders.corpora, 40),
        (folders.measured, 30),
        (folders.certificates, 15),
    )
}
"""Each family, and how many of its cases the default run tries."""
