"""Who may go on in an epoch: each rule by a case that it decides."""

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from bridge.relay.boundary import Head
from bridge.relay.position import Position, TurnId
from bridge.relay.record import MOST_REIGNS, Kept, Record
from bridge.relay.state import Estate, Reign, State
from bridge.relay.succession import (
    End,
    Found,
    Unproven,
    Verdict,
    announce,
    announced,
    are_alone,
    divergence,
    follows_on,
    judge,
    published_end,
)
from bridge.relay.turn import Part, encode, no_rows

EPOCH = "0123456789abcdef"
OTHER = "ffeeddccbbaa9988"
HOMES = ("one", "two")


def head(last: str = "5-2", epoch: str = EPOCH, token: int = 5, shards: int = 0b11) -> Head:
    """A shard whose newest turn goes from row 6 to row 8 and has parts in these shards."""
    turn = TurnId.parse(last)
    part = Part(0, EPOCH, turn, Position(6, 0), Position(8, 1), shards, no_rows(), [])
    return Head(epoch, token, last, encode(part) if last else b"")


def state(token: int = 5, epoch: str = EPOCH, at: int = 8, **estate: object) -> State:
    given = {"homes": HOMES, "name": "other", "others": ("me",), **estate}
    place = (token, epoch, at, 1, 2)
    return State(*place, "test", True, ["tick"], None, {}, 0, 1.0, "connected", "", estate=Estate(**given))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """What is asked, and whether this feed led: else it followed."""

    led: bool = False
    token: int = 5
    told: State | None = None
    heads: tuple[Head, ...] = (head(), head())
    homes: tuple[str, ...] = HOMES
    alone: bool = False
    others: tuple[str, ...] = ("other",)
    epoch: str = EPOCH
    is_empty: bool = False

    def verdict(self) -> Verdict:
        kept = Kept("me", self.epoch, self.token, led=self.led, others=self.others)
        return judge(EPOCH, self.is_empty, kept, Found(self.told, self.heads, self.homes, self.alone))


FOLLOWED = Case(told=state())
LED = Case(led=True, told=state())
GOES_ON = {
    "it followed, and the relay is whole": (FOLLOWED, Verdict(Position(8, 1), fill=False, succeeds=True)),
    "it followed, and half a turn is there": (
        replace(FOLLOWED, heads=(head(), head("5-1"))),
        Verdict(Position(6, 0), fill=True, succeeds=True),
    ),
    "another one led after it": (replace(LED, token=4), Verdict(Position(8, 1), fill=False, succeeds=True)),
    "it led last": (LED, Verdict(Position(8, 1), fill=False, succeeds=False)),
    "it led last, and half a turn is there": (
        replace(LED, heads=(head(), head("5-1"))),
        Verdict(Position(6, 0), fill=False, succeeds=False, half=Position(8, 1)),
    ),
    "it led last, and half a turn is there that may be another one's": (
        replace(LED, heads=(head("4-2"), head("4-1"))),
        Verdict(Position(6, 0), fill=True, succeeds=False, half=Position(8, 1)),
    ),
    "it led last, and the relay has not all": (
        replace(LED, heads=(head(), head(epoch=""))),
        Verdict(None, True, False),
    ),
    "it led, the relay has nothing, nobody else did": (replace(LED, told=None, alone=True), Verdict(None, True, False)),
    "it led, Redis may have lost, nobody else did": (
        replace(LED, homes=("one", "three"), alone=True),
        Verdict(Position(8, 1), fill=False, succeeds=False),
    ),
    "it is new, and so is the relay": (
        replace(LED, told=None, epoch="", is_empty=True, alone=True),
        Verdict(None, True, False),
    ),
}


@pytest.mark.parametrize("name", GOES_ON)
def test_a_feed_goes_on_where(name: str) -> None:
    case, verdict = GOES_ON[name]
    assert case.verdict() == verdict


BEGINS = {
    "it followed, and the relay has nothing": (replace(FOLLOWED, told=None, alone=True), "nothing"),
    "it followed, and the relay has another epoch": (
        replace(FOLLOWED, told=state(epoch=OTHER), alone=True),
        "another history",
    ),
    "it followed, and the server is another one": (replace(FOLLOWED, homes=("one", "three")), "may have lost"),
    "it followed, and the server changed just now": (replace(FOLLOWED, homes=()), "may have lost"),
    "it followed, unknown to who led": (replace(FOLLOWED, told=state(others=())), "did not know"),
    "it followed, and edges may have more": (replace(FOLLOWED, told=state(floor=(9, 0))), "does not have all"),
    "it followed, and a feed that told nothing published": (
        replace(FOLLOWED, heads=(head("6-1"), head("6-1"))),
        "does not have all",
    ),
    "it led, the relay has nothing, and others may have led": (replace(LED, told=None), "nothing"),
    "it led, Redis may have lost that others led": (replace(LED, homes=("one", "three")), "may have lost"),
    "it adopted an epoch that is empty yet": (
        replace(FOLLOWED, told=None, is_empty=True, alone=True),
        "nothing",
    ),
}


@pytest.mark.parametrize("name", BEGINS)
def test_a_new_epoch_begins_where(name: str) -> None:
    case, reason = BEGINS[name]
    with pytest.raises(Unproven, match=reason):
        case.verdict()


def test_a_relay_that_was_filled_anew_ends_where_its_feed_says_if_edges_have_no_more() -> None:
    filled = [head(""), head("")]
    assert published_end(filled, state(at=7, floor=(7, 1))) == End(Position(7, 1), is_whole=True)
    assert published_end(filled, state(at=7, floor=(8, 0))) is None
    assert published_end([head(""), head("", token=6)], state(at=7)) is None


def test_what_other_feeds_went_on_from_is_where_a_journal_may_differ() -> None:
    reigns = (Reign(4, 10, 0), Reign(7, 20, 1), Reign(9, 30, 0))
    told = state(token=9, reigns=reigns)
    assert divergence(Kept("me", EPOCH, 3), told) == Position(10, 0)
    assert divergence(Kept("me", EPOCH, 5), told) == Position(20, 1)
    assert divergence(Kept("me", EPOCH, 9), told) is None
    assert divergence(Kept("me", OTHER, 9), told) == Position(10, 0)
    many = tuple(Reign(token, token, 0) for token in range(10, 10 + MOST_REIGNS))
    with pytest.raises(Unproven, match="too many"):
        divergence(Kept("me", EPOCH, 5), state(token=99, reigns=many))
    assert divergence(Kept("me", EPOCH, 10), state(token=99, reigns=many)) == Position(11, 0)


def test_a_feed_that_has_led_since_in_the_same_epoch_may_go_on() -> None:
    kept = Kept("me", EPOCH, 5, led=True, others=("a",))
    assert follows_on(kept, announced(dict([announce(Kept("a", EPOCH, 6))])))
    assert not follows_on(kept, announced(dict([announce(kept), announce(Kept("a", EPOCH, 5))])))
    assert not follows_on(kept, announced(dict([announce(Kept("a", OTHER, 6))])))
    assert not follows_on(kept, {})


def test_feeds_are_alone_when_all_others_say_that_they_did_not_lead() -> None:
    kept = Kept("me", EPOCH, 5, led=True, others=("a", "b"))
    said = dict([announce(Kept("a", EPOCH, 5)), announce(Kept("b", EPOCH, 3)), ("an edge", ["tick:*"])])
    assert are_alone(kept, announced(said))
    assert not are_alone(kept, announced(dict([announce(Kept("a", EPOCH, 5))])))
    assert not are_alone(kept, announced(said | dict([announce(Kept("b", EPOCH, 6))])))
    assert not are_alone(kept, announced(said | dict([announce(Kept("b", OTHER, 3))])))


def test_a_record_outlives_its_process_and_one_that_is_broken_proves_nothing(tmp_path: Path) -> None:
    record = Record(tmp_path)
    told = state(token=5, reigns=(Reign(4, 10, 0),))
    record.follow(told)
    record.succeed(told, Reign(6, 12, 1))
    again = Record(tmp_path).kept
    assert again == record.kept
    assert (again.token, again.led, again.others) == (6, True, ("me", "other"))
    assert again.reigns == (Reign(4, 10, 0), Reign(6, 12, 1))
    record.lead(OTHER, 7)
    assert (record.kept.others, record.kept.reigns, record.kept.name) == ((), (), again.name)
    (tmp_path / "relay.json").write_text("{")
    broken = Record(tmp_path).kept
    assert not are_alone(broken, {})


def test_what_a_state_tells_survives_its_way() -> None:
    told = state(token=9, reigns=(Reign(4, 10, 0),), floor=(3, 1))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=State) == told
