"""The channels: their names, and their fields in the order that the contract fixes."""

import pytest

from hub.schema import ASSIGNED_BY_HUB, CHANNELS, STATUS

TICK = [
    *("code", "seq", "time", "recv", "lastPrice", "open", "high", "low", "lastClose", "amount", "volume", "pvolume"),
    *("stockStatus", "openInt", "lastSettlementPrice", "transactionNum", "askPrice", "bidPrice", "askVol", "bidVol"),
]


def test_the_channels_are_those_of_the_contract() -> None:
    bars = {"1m", "5m", "15m", "30m", "1h", "1d"}
    level_2 = {"l2quote", "l2quoteaux", "l2order", "l2transaction", "l2orderqueue"}
    assert set(CHANNELS) == {"tick", "status"} | bars | level_2
    assert STATUS == "status"


def test_a_channel_knows_its_own_name() -> None:
    assert all(channel.name == name for name, channel in CHANNELS.items())


def test_the_tick_channel_begins_with_the_fields_of_the_contract() -> None:
    assert list(CHANNELS["tick"].names[: len(TICK)]) == TICK


def test_the_status_channel_begins_with_the_fields_of_the_contract() -> None:
    assert CHANNELS["status"].names[:8] == ("code", "seq", "time", "recv", "state", "phase", "age_ms", "detail")


def test_a_bar_says_what_it_was_filled_from() -> None:
    assert all("source" in CHANNELS[period].names for period in ("1m", "5m", "15m", "30m", "1h", "1d"))


@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_has_its_key_first_and_no_name_twice(name: str) -> None:
    names = CHANNELS[name].names
    assert names[:4] == ("code", "seq", "time", "recv")
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", CHANNELS)
def test_a_source_gives_all_fields_but_those_that_the_hub_assigns(name: str) -> None:
    channel = CHANNELS[name]
    assert channel.source_names == ("code", "time", *channel.names[4:])
    assert set(channel.names) - set(channel.source_names) == set(ASSIGNED_BY_HUB)


@pytest.mark.parametrize("name", CHANNELS)
def test_every_field_says_what_it_means(name: str) -> None:
    assert all(field.meaning for field in CHANNELS[name].fields)


def test_the_channels_cannot_be_changed_by_accident() -> None:
    with pytest.raises(TypeError):
        CHANNELS["tick"] = CHANNELS["1m"]  # type: ignore[index]
