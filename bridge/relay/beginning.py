"""Where an edge begins: how much of the past it takes, and what was there before.

The newest row of each topic is in the relay. Of a topic that has not spoken since the beginning that is what it was
then; the others are known by the rows that follow.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple
from uuid import uuid4

import msgspec

from bridge.relay.backoff import Backoff
from bridge.relay.boundary import Head, Relay, RelayAway
from bridge.relay.newest import Newest
from bridge.relay.position import Position
from bridge.relay.share import Share
from bridge.relay.state import Question, State, decode_told
from bridge.relay.state import encode as encode_state
from bridge.relay.turn import MalformedError, decode
from hub.past import RestoredTopic
from hub.schema import CHANNELS

ANSWER_S: Final = 1.5
KEEP_MS: Final = 5000
ASKED_TIMES: Final = 4
"""Long enough for a feed that was restarted to be back; an edge without it serves what the streams have."""

_decode_row: Final = msgspec.msgpack.Decoder(list[object]).decode
_logger = logging.getLogger("argus.relay")


class ShardsDifferError(Exception):
    """Feed and edge were set up differently. The text is for the user."""


class Beginning(NamedTuple):
    """Where to begin, and what was there. ``known_at``: as `hub.followed.FollowedHistory` has it."""

    state: State
    position: Position
    topics: list[RestoredTopic]
    known_at: int


async def find_beginning(relay: Relay, share: Share, warm_rows: int, not_before: Position) -> Beginning | None:
    """Choose a place ``warm_rows`` rows before the newest, or where the streams begin if that is earlier.

    For an edge of few shards rows are counted as the feed does, also those of the others, and it begins no earlier.

    Returns:
        None where no feed has published yet.

    Raises:
        RelayAway: the relay was not reached, or lost what it had meanwhile.
        MalformedError: what it has is of another version.
    """
    state = decode_told(await relay.state())
    if state is None:
        return None
    if state.shards != relay.shards:
        raise ShardsDifferError(f"relay_shards is {relay.shards} here, but {state.shards} at the feed")
    found = {shard: await relay.newest(shard) for shard in share.shards}
    if any(head.epoch != state.epoch for head, _ in found.values()):
        _logger.info("the feed fills the relay just now")
        return None
    rows = (row for _, rows in found.values() for row in rows if share.serves(row.name))
    newest = [row for row in rows if row.name.partition(":")[0] in CHANNELS]
    known_at = max((row.at for row in newest), default=0)
    wanted = Position(max(0, max(known_at, state.at) - warm_rows), 0)
    in_streams = await _streams_begin(relay, {shard: head for shard, (head, _) in found.items()}, state)
    position = in_streams
    if wanted < in_streams:
        position = await _feed_begins(relay, state.epoch, wanted) or in_streams
    elif not share.is_whole:  # a quiet shard has turns of long ago; the newest rows may be half published
        position = max(in_streams, min(wanted, state.position))
    position = max(position, not_before)
    topics = [as_it_was(row) for row in newest if row.at <= position.at]
    return Beginning(state, position, topics, known_at)


async def wait_for_beginning(
    relay: Relay, share: Share, warm_rows: int, stopped: asyncio.Event, not_before: Position | None = None
) -> Beginning | None:
    """Wait until there is one, whatever happens to the relay; None when it was stopped meanwhile.

    Args:
        not_before: what was before is lost for certain.

    Raises:
        ShardsDifferError: the feed spreads topics over another number of shards.
    """
    backoff, said = Backoff(), ""
    while not stopped.is_set():
        try:
            found = await find_beginning(relay, share, warm_rows, not_before or Position(0, 0))
            if found is not None:
                return found
            trouble = "no feed has published yet: the edge waits for it"
        except RelayAway as error:
            trouble = f"the relay is away: {error}"
        except MalformedError as error:
            trouble = f"the relay has something that can't be read: {error}"
        if trouble != said:
            said = trouble
            _logger.warning("%s", trouble)
        with suppress(TimeoutError):
            async with asyncio.timeout(backoff.pause_s()):
                await stopped.wait()
    return None


async def ask(relay: Relay, question: Question) -> bytes | None:
    """Ask the feed; None where it does not answer in time."""
    answer_to = uuid4().hex
    await relay.ask(encode_state(question), answer_to, KEEP_MS)
    return await relay.answered(answer_to, ANSWER_S)


async def _streams_begin(relay: Relay, heads: Mapping[int, Head], state: State) -> Position:
    """A position from which on the streams of these shards have everything, or had it just now."""
    begins: list[Position] = []
    for shard, head in heads.items():
        oldest = await relay.read(shard, "", 1)
        if oldest:
            begins.append(decode(oldest[0][1]).begin)
        elif head.last:
            return state.position
    return max(begins, default=state.position)


async def _feed_begins(relay: Relay, epoch: str, wanted: Position) -> Position | None:
    """The oldest position that the feed's history has, at or after the wanted one; None where it does not answer."""
    for _ in range(ASKED_TIMES):
        answer = await ask(relay, Question(epoch, *wanted, most=1))
        if answer is not None:
            part = decode(answer)
            return part.begin if part.epoch == epoch else None
    _logger.warning("the feed does not answer: this edge begins with the rows that the relay's streams have")
    return None


def as_it_was(newest: Newest) -> RestoredTopic:
    """A topic whose newest row is this one."""
    channel, _, code = newest.name.partition(":")
    values = _decode_row(newest.row)
    seq, time_ms = values[1], values[2]
    if not isinstance(seq, int) or not isinstance(time_ms, int):
        raise TypeError(f"the newest row of {newest.name} is none")
    return RestoredTopic(channel, code, seq, newest.at, newest.row, time_ms, newest.newest_time_ms)
