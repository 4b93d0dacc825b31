"""All kinds of cases, and how much of a round each is."""

from fuzz import folders, tasks
from fuzz.cases import Family

FAMILIES: dict[str, tuple[Family, int]] = {
    family.__name__: (family, share)
    for family, share in (
        (tasks.each_value, 30),
        (tasks.values_of_keys, 30),
        (tasks.lines, 30),
        (tasks.characters, 30),
        (tasks.overrides, 30),
        (tasks.commands, 30),
        (folders.runs, 50),
        (folders.sessions, 30),
        (folders.corpora, 20),
        (folders.measured, 10),
        (folders.certificates, 10),
    )
}
"""Each family, and how many of its cases the default run tries."""
