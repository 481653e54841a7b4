"""Who may go on in a history: the source that fed it, and nobody else; it is remembered for the hub that comes next."""

import logging
from pathlib import Path
from typing import Any

import pytest

from bridge.feed.acceptance import Acceptance
from bridge.feed.known import KnownSource, read_known, remember
from bridge.feed.messages import Hello

EPOCH, OTHER_EPOCH = "0123456789abcdef", "fedcba9876543210"
KNOWN = KnownSource(EPOCH, "alpha", simulated=False)


def hello(run: str = "run-a", **changes: Any) -> Hello:
    return Hello(**{"source": "alpha", "run": run, "simulated": False, "channels": ["tick"], **changes})


def fed_before(folder: Path, run: str = "run-a") -> Acceptance:
    """Of a hub that goes on with a history which the source alpha has fed."""
    remember(folder, KNOWN)
    return Acceptance(folder, EPOCH, run)


@pytest.mark.parametrize("comes", [hello(), hello(simulated=True), hello(continues=False)], ids=str)
def test_a_history_that_nobody_has_fed_is_anybody_s(tmp_path: Path, comes: Hello) -> None:
    acceptance = Acceptance(tmp_path, EPOCH, "")
    assert acceptance.admits(comes)
    assert acceptance.renewal is None
    assert read_known(tmp_path) == KnownSource(EPOCH, "alpha", comes.simulated)


@pytest.mark.parametrize("comes", [hello(), hello("run-b"), hello(continues=False)], ids=str)
def test_the_source_that_fed_it_goes_on_with_its_run_or_a_market_that_continues(tmp_path: Path, comes: Hello) -> None:
    acceptance = fed_before(tmp_path)
    assert acceptance.known == KNOWN
    assert acceptance.admits(comes)
    assert acceptance.renewal is None


@pytest.mark.parametrize(
    "comes",
    [hello(source="beta"), hello(simulated=True), hello("run-b", continues=False)],
    ids=["another source", "invented prices", "a recording from its start"],
)
def test_who_does_not_go_on_with_it_needs_another_history(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, comes: Hello
) -> None:
    acceptance = fed_before(tmp_path)
    assert not acceptance.admits(comes)
    assert acceptance.renewal is comes
    assert read_known(tmp_path) == KNOWN, "what was fed so far is still alpha's"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{comes.source}, run {comes.run}, does not go on" in record.getMessage()


def test_after_one_was_let_in_another_run_is_judged_by_that_one(tmp_path: Path) -> None:
    acceptance = fed_before(tmp_path)
    assert acceptance.admits(hello("run-b"))
    assert acceptance.admits(hello("run-b", continues=False))
    assert not acceptance.admits(hello("run-a", continues=False))


def test_in_an_empty_history_the_first_who_comes_is_the_one_that_others_are_measured_by(tmp_path: Path) -> None:
    acceptance = Acceptance(tmp_path, EPOCH, "")
    assert acceptance.admits(hello(source="beta"))
    assert not acceptance.admits(hello(source="alpha"))


@pytest.mark.parametrize("run", ["", "run-b"])
def test_what_fed_another_history_says_nothing_of_this_one(tmp_path: Path, run: str) -> None:
    """After a renewal the new source must not be turned away for ever because of the old one's name."""
    remember(tmp_path, KnownSource(OTHER_EPOCH, "alpha", simulated=False))
    acceptance = Acceptance(tmp_path, EPOCH, run)
    assert acceptance.known is None
    assert acceptance.admits(hello("run-b", source="beta", simulated=True))
    assert read_known(tmp_path) == KnownSource(EPOCH, "beta", simulated=True)


def test_the_hub_that_comes_next_knows_who_was_let_in(tmp_path: Path) -> None:
    assert Acceptance(tmp_path, EPOCH, "").admits(hello(source="beta"))
    acceptance = Acceptance(tmp_path, EPOCH, "run-a")
    assert acceptance.known == KnownSource(EPOCH, "beta", simulated=False)
    assert not acceptance.admits(hello(source="alpha"))


def test_without_a_folder_it_is_known_as_long_as_the_hub_runs() -> None:
    acceptance = Acceptance(None, EPOCH, "")
    assert acceptance.known is None
    assert acceptance.admits(hello())
    assert acceptance.known == KNOWN
    assert not acceptance.admits(hello(source="beta"))


def test_one_who_comes_again_is_not_written_down_again(tmp_path: Path) -> None:
    acceptance = fed_before(tmp_path)
    (tmp_path / "feed.json").unlink()
    assert acceptance.admits(hello("run-b"))
    assert list(tmp_path.iterdir()) == []
