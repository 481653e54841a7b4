import pytest

from argus_client.errors import TopicError
from argus_client.inbox import Brake, Inbox
from argus_client.ledger import Ledger, Mode, Order
from argus_client.topics import TopicSet


def inbox() -> Inbox:
    return Inbox("", 10, Brake())


def order(*topics: str, mode: Mode = "every", interval_ms: int | None = None) -> Order:
    return Order(TopicSet.of(topics), mode=mode, interval_ms=interval_ms)


def test_a_topic_is_left_at_the_hub_when_its_last_subscription_goes() -> None:
    ledger, first, second = Ledger(), inbox(), inbox()
    for one, wanted in ((first, order("tick:A.SH", "tick:B.SH")), (second, order("tick:B.SH"))):
        ledger.enter(one, wanted)
        ledger.confirm(one)
    assert ledger.strike(first) == ["tick:A.SH"]
    assert ledger.strike(second) == ["tick:B.SH"]


def test_a_topic_is_not_left_while_another_subscription_is_being_asked_for() -> None:
    ledger, first, second = Ledger(), inbox(), inbox()
    ledger.enter(first, order("tick:A.SH"))
    ledger.confirm(first)
    ledger.enter(second, order("tick:A.SH"))
    assert ledger.strike(first) == []
    # The hub refuses the second: only now nobody needs what the first had brought there.
    assert ledger.strike(second) == ["tick:A.SH"]


def test_an_order_that_the_hub_refused_leaves_nothing_behind() -> None:
    ledger, refused = Ledger(), inbox()
    ledger.enter(refused, order("tick:A.SH"))
    assert ledger.strike(refused) == []
    assert ledger.strike(refused) == []


def test_the_same_topic_may_be_shared_on_the_same_terms_only() -> None:
    ledger = Ledger()
    ledger.enter(inbox(), order("tick:A.SH", mode="latest", interval_ms=500))
    ledger.enter(inbox(), order("tick:A.SH", mode="latest", interval_ms=500))
    for other in (order("tick:A.SH"), order("tick:A.SH", mode="latest", interval_ms=100)):
        with pytest.raises(TopicError, match=r"tick:A\.SH is already subscribed with mode=latest, interval_ms=500"):
            ledger.enter(inbox(), other)
    ledger.enter(inbox(), order("tick:*"))


@pytest.mark.parametrize(
    ("earlier", "later"),
    [("tick:@沪深A股", "tick:600000.SH"), ("tick:*", "tick:@沪深A股"), ("tick:@one", "tick:@two")],
)
def test_a_universe_is_not_mixed_with_another_subscription_of_its_channel(earlier: str, later: str) -> None:
    ledger = Ledger()
    ledger.enter(inbox(), order(earlier))
    with pytest.raises(TopicError, match="can't be told from those of another subscription of channel tick"):
        ledger.enter(inbox(), order(later))


def test_a_universe_goes_with_topics_of_its_own_subscription_and_of_other_channels() -> None:
    ledger = Ledger()
    ledger.enter(inbox(), order("tick:@沪深A股", "tick:000001.SH"))
    bars = inbox()
    ledger.enter(bars, order("1m:*"))
    assert bars in ledger
