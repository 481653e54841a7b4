"""Instruments and universes that a source tells: asked for, living, kept, and wishes that it refuses."""

from pathlib import Path
from typing import Any

import pytest

from hub.core import Refusal
from hub.reference import FILE, Reference
from tests.hub.support.core import Client, make_hub, publish

A, B, C = "600000.SH", "600001.SH", "000001.SZ"
INSTRUMENTS = [{"code": A, "name": "浦发银行"}, {"code": B, "name": "邯郸钢铁"}, {"code": C, "name": "平安银行"}]
FULL = Refusal("upstream_limit", "no room")


def tell(hub: Any, universes: dict[str, list[str]]) -> None:
    hub.flush()
    hub.reference.take("test", INSTRUMENTS, universes)
    hub.router.renew()


def living_hub() -> Any:
    hub = make_hub()
    hub.reference = Reference({"two": [A, B]})
    hub.router._universes = hub.reference.universes
    return hub


@pytest.mark.parametrize(
    ("pattern", "codes"), [("*", [A, B, C]), (A, [A]), ("*.SZ", [C]), ("@banks", [A, C]), ("@two", [A, B]), ("9*", [])]
)
def test_instruments_are_found_by_code_pattern_and_universe(pattern: str, codes: list[str]) -> None:
    hub = living_hub()
    tell(hub, {"banks": [A, C]})
    reply = Client(hub).answer("instruments", id=4, pattern=pattern)
    assert (reply["type"], reply["id"], [one["code"] for one in reply["instruments"]]) == ("instruments", 4, codes)


def test_before_the_source_told_them_instruments_are_unavailable() -> None:
    assert Client(make_hub()).answer("instruments", pattern="*")["code"] == "unavailable"


@pytest.mark.parametrize("pattern", ["@nobody", "", "浦发", "tick:*"])
def test_a_pattern_that_is_none_is_a_bad_topic(pattern: str) -> None:
    hub = living_hub()
    tell(hub, {})
    assert Client(hub).answer("instruments", pattern=pattern)["code"] == "bad_topic"


@pytest.mark.parametrize("mode", ["every", "latest"])
def test_a_universe_is_a_living_set(mode: str) -> None:
    hub = living_hub()
    tell(hub, {"banks": [A]})
    client = Client(hub)
    client.ask("subscribe", topics=["tick:@banks"], mode=mode)
    client.pump()
    client.messages()
    publish(hub, A, B)
    tell(hub, {"banks": [B]})
    publish(hub, A, B, time_ms=2)
    hub.flush()
    client.pump()
    expected = [("live", A, 1), ("live", B, 2)]
    assert client.told() == (expected if mode == "every" else expected[1:])
    client.ask("unsubscribe", topics=["tick:@banks"])
    publish(hub, B, time_ms=3)
    hub.flush()
    client.pump()
    assert client.told() == [("unsubscribed",)]


def test_what_waits_as_a_universe_gains_its_instrument_is_sent_as_what_it_is() -> None:
    hub = living_hub()
    tell(hub, {"banks": [C]})
    client = Client(hub)
    client.ask("subscribe", topics=["tick:60*"], since="none", mode="latest")
    client.ask("subscribe", topics=["tick:@banks"], since="none")
    publish(hub, A)
    hub.flush()
    publish(hub, B, is_state=True)
    hub.flush()
    client.told()
    tell(hub, {"banks": [A, B]})
    assert client.told() == [("live", A, 1), ("snapshot", B, 1)]
    publish(hub, A)
    hub.flush()
    client.pump()
    assert client.told() == [("live", A, 2)], "once, although both subscriptions cover it"
    tell(hub, {"banks": [C]})
    publish(hub, A)
    hub.flush()
    assert client.told() == []
    client.pump()
    assert client.told() == [("live", A, 3)]


def test_a_universe_that_is_gone_is_what_it_was() -> None:
    hub = living_hub()
    tell(hub, {"banks": [A]})
    client = Client(hub)
    client.ask("subscribe", topics=["tick:@banks"])
    client.pump()
    client.messages()
    tell(hub, {})
    publish(hub, A)
    hub.flush()
    assert client.told() == [("live", A, 1)]


def test_the_operator_s_universes_win() -> None:
    reference = Reference({"two": [A]})
    reference.take("test", [], {"two": [B], "banks": [C]})
    assert reference.universes == {"two": [A], "banks": [C]}


def test_it_is_kept_for_the_same_source(tmp_path: Path) -> None:
    Reference({}, tmp_path).take("xtquant", INSTRUMENTS, {"banks": [A]})
    again = Reference({"two": [B]}, tmp_path)
    again.restore("xtquant")
    assert (list(again.instruments), again.universes) == (INSTRUMENTS, {"banks": [A], "two": [B]})
    other = Reference({}, tmp_path)
    other.restore("simulator")
    assert (list(other.instruments), other.universes) == ([], {})


def test_a_file_that_is_damaged_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_text("{")
    reference = Reference({}, tmp_path)
    reference.restore("xtquant")
    assert reference.universes == {}
    assert "can't be read" in caplog.text


def test_a_disk_that_is_full_does_not_end_the_hub(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    reference = Reference({}, tmp_path / "file")
    reference.take("xtquant", INSTRUMENTS, {})
    assert len(reference.instruments) == 3
    assert "can't be written" in caplog.text


def test_whoever_subscribed_a_refused_topic_is_told_once_by_the_id_of_the_request() -> None:
    hub = make_hub()
    mine, other = Client(hub), Client(hub)
    mine.ask("subscribe", id="mine", topics=[f"1m:{A}", "tick:*"])
    other.ask("subscribe", id="other", topics=["tick:*"])
    for client in (mine, other):
        client.pump()
        client.messages()
    for _ in range(2):
        hub.refuse({f"1m:{A}": FULL})
    (error,) = mine.messages()
    assert error == {
        "type": "error",
        "id": "mine",
        "code": "upstream_limit",
        "message": "no room",
        "retryable": False,
        "retry_in_ms": None,
    }
    assert other.messages() == []


def test_whoever_subscribes_it_later_is_told_right_behind_the_reply() -> None:
    hub = make_hub()
    hub.refuse({f"1m:{A}": FULL})
    client = Client(hub)
    client.ask("subscribe", id=9, topics=[f"1m:{A}"])
    client.pump()
    assert client.told() == [("subscribed",), ("error", "upstream_limit")]
    hub.refuse({})
    hub.refuse({f"1m:{A}": FULL})
    assert client.told() == [("error", "upstream_limit")], "it was given meanwhile"


def test_mode_latest_is_told_too_and_who_has_left_is_not() -> None:
    hub = make_hub()
    client = Client(hub)
    client.ask("subscribe", id=1, topics=[f"1m:{A}"], mode="latest")
    client.pump()
    client.messages()
    hub.refuse({f"1m:{A}": FULL})
    assert client.told() == [("error", "upstream_limit")]
    client.ask("unsubscribe", topics=[f"1m:{A}"])
    hub.refuse({})
    hub.refuse({f"1m:{A}": FULL})
    assert client.told() == [("unsubscribed",)]
