"""Benchmarks that no test runs must not break unseen: each can at least be loaded with the hub as it is."""

import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_what_a_benchmark_needs_of_the_hub_is_there(path: Path) -> None:
    assert runpy.run_path(str(path), run_name="loaded")["__doc__"]
