"""All kinds of cases, and how much of a round each is."""

from fuzz import folders, tasks
from fuzz.cases import Family

FAMILIES: dict[str, tuple[Family, int]] = {
    family.__name__: (family, share)
    for family, share in (
        (tasks.each_value, 50),
        (tasks.values_of_keys, 40),
        (tasks.lines, 40),
        (tasks.characters, 50),
        (tasks.overrides, 40),
        (tasks.commands, 40),
        (folders.runs, 60),
        (folders.sessions, 40),
        (folders.corpora, 30),
        (folders.measured, 20),
        (folders.certificates, 10),
    )
}
"""Each family, and how many of its cases the default run tries."""
