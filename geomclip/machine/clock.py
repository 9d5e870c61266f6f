"""The time of day, as files say when they were made."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Date and time in UTC to the second, as ISO 8601 has it.

    Examples
    --------
    >>> len(utc_now()), utc_now()[-1]
    (20, 'Z')
    """
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
