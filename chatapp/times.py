"""Times as a person reads them: by the clock of this machine. The database and --json have them in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def when(time: str) -> str:
    """ "2026-11-29 12:15" of a time as the store has it."""
    try:
        read = datetime.fromisoformat(time)
        local = (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone()
    except (ValueError, OverflowError, OSError):  # an import may bring years that no clock has
        return time[:16].replace("T", " ")
    return local.isoformat(sep=" ", timespec="minutes")[:16]


def day(time: str) -> str:
    """ "2026-11-29"."""
    return when(time)[:10]


def short(time: str) -> str:
    """`shorter` of a time as the store has it."""
    return shorter(when(time))


def shorter(when: str) -> str:
    """What `when` gives, in 11 cells: "11-29 12:15", or the day where that is of another year."""
    return when[5:] if when[:4] == f"{datetime.now():%Y}" else when[:10]
