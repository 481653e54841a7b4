"""The account of single subscriptions, without any terminal."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.xtquant.wishes import Wishes

KEYS = [("1m", f"60000{number}.SH") for number in range(8)]


def test_what_is_met_stays_met_when_others_come() -> None:
    wishes = Wishes(2, 60)
    assert wishes.plan({"b": {KEYS[1]}}, 0.0).begin == [KEYS[1]]
    plan = wishes.plan({"a": {KEYS[0], KEYS[2]}, "b": {KEYS[1]}}, 1.0)
    assert (plan.begin, plan.end, list(plan.refused)) == ([], [], ["a"])
    assert "needs 2 more subscriptions" in plan.refused["a"]
    assert "may have 2 and has 1 in use" in plan.refused["a"]


def test_a_wish_that_shares_what_is_held_fits() -> None:
    wishes = Wishes(1, 60)
    wishes.plan({"a": {KEYS[0]}}, 0.0)
    assert wishes.plan({"a": {KEYS[0]}, "b": {KEYS[0]}}, 0.0).refused == {}


def test_the_oldest_that_nobody_wants_makes_room_first() -> None:
    wishes = Wishes(3, 60)
    wishes.plan({key[1]: {key} for key in KEYS[:3]}, 0.0)
    wishes.plan({KEYS[1][1]: {KEYS[1]}, KEYS[2][1]: {KEYS[2]}}, 1.0)
    wishes.plan({KEYS[1][1]: {KEYS[1]}}, 2.0)
    plan = wishes.plan({KEYS[1][1]: {KEYS[1]}, "new": {KEYS[3]}}, 3.0)
    assert (plan.begin, plan.end) == ([KEYS[3]], [KEYS[0]])
    assert wishes.evicted == 1
    assert wishes.due_in_s(3.0) == 59.0


def test_no_room_at_all_refuses_everything() -> None:
    assert list(Wishes(0, 60).plan({"a": {KEYS[0]}}, 0.0).refused) == ["a"]


@given(
    st.integers(0, 5),
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcd"), st.sets(st.sampled_from(KEYS), min_size=1)), st.integers(0, 40)
        )
    ),
)
def test_the_account_is_never_overdrawn_and_every_wish_is_met_or_refused(
    most: int, changes: list[tuple[dict[str, set[tuple[str, str]]], int]]
) -> None:
    wishes, held, now_s = Wishes(most, 60), set[tuple[str, str]](), 0.0
    met_before: set[str] = set()
    wants_before: dict[str, set[tuple[str, str]]] = {}
    for wants, passed_s in changes:
        now_s += passed_s
        plan = wishes.plan(wants, now_s)
        assert not set(plan.begin) & held
        assert set(plan.end) <= held
        held = held - set(plan.end) | set(plan.begin)
        assert held == set(wishes.held)
        assert len(held) <= most
        met = wants.keys() - plan.refused.keys()
        assert all(wants[topic] <= held for topic in met)
        if all(wants.get(topic) == wants_before[topic] for topic in met_before):
            assert met_before <= met, "what is met is not taken away by others"
        met_before, wants_before = set(met), wants
