"""Lengths of time as people write them. Pure."""

import re
from typing import Final

_SECONDS_OF: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_LONGEST_TEXT: Final = 30


def parse_duration(text: str) -> float:
    """Read "90", "90s", "1h30m", "500ms" or "2d" as seconds. Raises ValueError with the form."""
    if len(text) <= _LONGEST_TEXT:
        if _NUMBER.fullmatch(text):
            return float(text)
        parts = _PART.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            return sum(float(number) * _SECONDS_OF[unit] for number, unit in parts)
    raise ValueError(f"{text[:30]!a} is not a length of time; write 90s, 15m, 1h30m or 2d")
