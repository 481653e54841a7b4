"""The Lua scripts: one for each operation, so that each is done as a whole or not at all."""

from hashlib import sha1
from importlib.resources import files
from typing import Final, NamedTuple


class Script(NamedTuple):
    """A script, and the name by which Redis knows it once it was loaded."""

    text: str
    sha: str


def _read(name: str) -> Script:
    text = (files("bridge.redis") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


APPEND: Final = _read("append")
BEGIN: Final = _read("begin")
CONFIRM: Final = _read("confirm")
FENCE: Final = _read("fence")
HOLD: Final = _read("hold")
KEEP: Final = _read("keep")
LEASE: Final = _read("lease")
NEWEST: Final = _read("newest")
POST: Final = _read("post")
WISH: Final = _read("wish")
WISHES: Final = _read("wishes")
