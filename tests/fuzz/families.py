"""All kinds of cases, and how much of a round each is."""

from fuzz import folders, tasks
from fuzz.cases import Family

FAMILIES: dict[str, tuple[Family, int]] = {
    family.__name__: (family, share)
    for family, share in (
        (tasks.each_value, 15),
        (tasks.values_of_keys, 15),
        (tasks.lines, 15),
        (tasks.characters, 15),
        (tasks.overrides, 15),
        (tasks.commands, 15),
        (folders.runs, 25),
        (folders.sessions, 15),
        (folders.corpora, 10),
        (folders.measured, 10),
        (folders.certificates, 10),
    )
}
"""Each family, and how many of its cases the default run tries."""
