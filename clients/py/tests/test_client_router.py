from argus_client.inbox import Brake, Inbox
from argus_client.router import Router
from argus_client.topics import TopicSet


def joined(router: Router, *topics: str) -> Inbox:
    inbox = Inbox("", 10, Brake())
    router.join(inbox, TopicSet.of(topics))
    return inbox


def test_a_row_goes_to_every_subscription_that_covers_it() -> None:
    router = Router()
    exact, pattern, other = joined(router, "tick:600000.SH"), joined(router, "tick:6*"), joined(router, "tick:*.SZ")
    assert router.for_row("tick", "600000.SH") == (exact, pattern)
    assert router.for_row("tick", "601398.SH") == (pattern,)
    assert router.for_row("tick", "000001.SZ") == (other,)
    assert router.for_row("1m", "600000.SH") == ()


def test_routes_that_were_remembered_change_when_a_subscription_comes_or_goes() -> None:
    router = Router()
    first = joined(router, "tick:*")
    assert router.for_row("tick", "600000.SH") == (first,)
    second = joined(router, "tick:600000.SH")
    assert router.for_row("tick", "600000.SH") == (first, second)
    router.leave(first)
    assert router.for_row("tick", "600000.SH") == (second,)
    router.leave(first)
    assert router.for_row("tick", "600000.SH") == (second,)


def test_a_gap_of_a_pattern_goes_to_every_subscription_that_it_may_concern() -> None:
    router = Router()
    exact, pattern, other = (
        joined(router, "tick:600000.SH"),
        joined(router, "tick:6*"),
        joined(router, "tick:000001.SZ"),
    )
    assert router.for_gap("tick:*.SH") == (exact, pattern)
    assert router.for_gap("tick:000001.SZ") == (other,)
    assert router.for_gap("1m:*") == ()
