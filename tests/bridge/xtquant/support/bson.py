"""BSON bytes as the native layer hands them over: what xtquant's own library reads, written here by hand.

Numbers beyond 32 bits are 64-bit ones, which xtquant's library gives a type of its own.
"""

import struct
from typing import Any


def encode(document: dict[str, Any]) -> bytes:
    """A document to BSON: texts, whole numbers, floats, lists and documents."""
    return _document(document.items())


def _document(items: Any) -> bytes:
    body = b"".join(_element(name, value) for name, value in items)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _element(name: str, value: Any) -> bytes:
    key = name.encode() + b"\0"
    if isinstance(value, float):
        return b"\x01" + key + struct.pack("<d", value)
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return b"\x10" + key + struct.pack("<i", value)
        return b"\x12" + key + struct.pack("<q", value)
    if isinstance(value, str):
        data = value.encode() + b"\0"
        return b"\x02" + key + struct.pack("<i", len(data)) + data
    if isinstance(value, list):
        return b"\x04" + key + _document((str(place), one) for place, one in enumerate(value))
    if isinstance(value, dict):
        return b"\x03" + key + _document(value.items())
    if value is None:
        return b"\x0a" + key
    raise TypeError(f"no BSON for {type(value).__name__}")
