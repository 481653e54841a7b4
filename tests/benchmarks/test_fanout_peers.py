"""The peers' environment: names and versions only, each explained, and each that a server needs."""

import re
from pathlib import Path

from benchmarks.fanout.contestants.python import PINS, PYTHON_SERVERS, SERVERS

DOCS = Path(__file__).parents[2] / "docs"


def pinned() -> dict[str, str]:
    lines = [line for line in PINS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(pin.split("==") for line in lines for pin in line.split())


def test_pins_are_names_and_versions_only() -> None:
    for name, version in pinned().items():
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version)


def test_every_peer_is_explained() -> None:
    section = (
        (DOCS / "dependencies.md").read_text(encoding="utf-8").partition("\n## Benchmarks")[2].partition("\n## ")[0]
    )
    explained = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert set(explained) == set(pinned())


def test_what_the_servers_need_is_installed() -> None:
    for server in PYTHON_SERVERS:
        assert (SERVERS / f"{server.name}_server.py").exists()
        assert set(server.packages) <= set(pinned())


def test_without_their_environment_they_are_missing(tmp_path: Path) -> None:
    assert {server.missing(tmp_path) for server in PYTHON_SERVERS} == {
        "the Python peers are not installed (--install-peers)"
    }
