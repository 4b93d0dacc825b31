"""Makes tasks/dates.csv.gz: dates as people write them in seven languages, each with its ISO form.

A date is in one split alone, whatever the forms in which it is written.
"""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "tasks" / "dates.csv.gz"

DAYS = {"train": 4000, "validation": 200, "test": 400}
"""How many different days each split has,"""
WRITTEN = {"train": 2, "validation": 2, "test": 2}
"""and in how many forms each of them is written."""
FIRST, LAST = date(1950, 1, 1), date(2049, 12, 31)
"""Between them each year of two digits is one year."""

MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre"
    " diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre"
    " dicembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "roman": "I II III IV V VI VII VIII IX X XI XII",
}
WEEKDAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "sv": "måndag tisdag onsdag torsdag fredag lördag söndag",
}
ENDINGS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}


def month(day: date, language: str) -> str:
    """Return the name of the month of a day."""
    return MONTHS[language].split()[day.month - 1]


def weekday(day: date, language: str) -> str:
    """Return the name of a day of the week."""
    return WEEKDAYS[language].split()[day.weekday()]


def ordinal(day: date) -> str:
    """Return the day of the month as English counts it."""
    return f"{day.day}{ENDINGS.get(day.day, 'th')}"


def first(day: date) -> str:
    """Return the day of the month as French counts it."""
    return "1er" if day.day == 1 else str(day.day)


FORMS: list[Callable[[date], str]] = [
    lambda d: f"{month(d, 'en')} {d.day}, {d.year}",
    lambda d: f"{d.day} {month(d, 'en')} {d.year}",
    lambda d: f"{ordinal(d)} of {month(d, 'en')}, {d.year}",
    lambda d: f"{weekday(d, 'en')}, {month(d, 'en')} {ordinal(d)}, {d.year}",
    lambda d: f"{month(d, 'en')[:3]} {d.day} {d.year}",
    lambda d: f"{d.day:02}-{month(d, 'en')[:3].upper()}-{d.year % 100:02}",
    lambda d: f"{weekday(d, 'en')[:3]} {d.day} {month(d, 'en')[:3]} '{d.year % 100:02}",
    lambda d: f"{d.year}/{d.month}/{d.day}",
    lambda d: f"{d.year}{d.month:02}{d.day:02}",
    lambda d: f"{d.day}.{d.month}.{d.year}",
    lambda d: f"{d.day:02}.{d.month:02}.{d.year % 100:02}",
    lambda d: f"{d.day}. {month(d, 'de')} {d.year}",
    lambda d: f"{weekday(d, 'de')}, den {d.day}. {month(d, 'de')} {d.year}",
    lambda d: f"{first(d)} {month(d, 'fr')} {d.year}",
    lambda d: f"le {weekday(d, 'fr')} {first(d)} {month(d, 'fr')} {d.year}",
    lambda d: f"{d.day} de {month(d, 'es')} de {d.year}",
    lambda d: f"{d.day} {month(d, 'it')} {d.year}",
    lambda d: f"{d.day} {month(d, 'nl')} {d.year}",
    lambda d: f"{weekday(d, 'sv')} den {d.day} {month(d, 'sv')} {d.year}",
    lambda d: f"{d.day}.{month(d, 'roman')}.{d.year}",
    lambda d: f"{d.year}年{d.month}月{d.day}日",
]


def rows() -> list[tuple[str, str, str]]:
    """Return each date as it is written, its ISO form and its split."""
    draw = random.Random(0)
    span = (LAST - FIRST).days + 1
    days = draw.sample(range(span), sum(DAYS.values()))
    made = []
    for fold, count in DAYS.items():
        chosen, days = days[:count], days[count:]
        for number in chosen:
            day = FIRST + timedelta(days=number)
            forms = draw.sample(FORMS, WRITTEN[fold])
            made += [(form(day), day.isoformat(), fold) for form in forms]
    return made


def lines() -> list[str]:
    """Return the lines of the file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["written", "iso", "fold"])
    writer.writerows(rows())
    return text.getvalue().splitlines(keepends=True)


if __name__ == "__main__":
    TARGET.write_bytes(gzip.compress("".join(lines()).encode(), mtime=0))
    print(f"{TARGET}: {len(rows())} dates, {TARGET.stat().st_size:,} bytes")
