"""JSON that others have written: objects with numbers that can be reckoned with, or nothing."""

import json
from pathlib import Path
from typing import Any

# Digits from which on a whole number is read as a float, infinite if need be.
MOST_DIGITS = 15


def object_in(text: str) -> dict[str, Any] | None:
    """The object that a text is; None if it is something else, or no JSON.

    >>> object_in('{"iter": 3}'), object_in('[3]'), object_in('{"iter": ')
    ({'iter': 3}, None, None)
    """
    try:
        values = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def object_of(file: Path) -> dict[str, Any]:
    """The object in a file; empty if there is none."""
    try:
        return object_in(file.read_text(encoding='utf-8')) or {}
    except (OSError, ValueError):
        return {}


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)
