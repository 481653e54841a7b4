"""Every setting: its name, default, bounds and meaning, and which of them contradict each other.

``Settings`` is one flat, frozen model that reads nothing but a token file. ``hub.config`` fills it from what the
user gave.
"""

import ipaddress
import json
import re
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)

from hub import topics
from hub.auth import is_loopback
from hub.serving import Serving

_TIME_OF_DAY: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@]+")
_TOKEN: Final = re.compile(r"[!-~]{1,4096}")
_REDIS: Final = re.compile(r"rediss?(\+(sentinel|cluster))?://\S+")
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_UNIVERSE: Final = re.compile(r"\w[\w&.+-]{0,63}")


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def _time_of_day(value: object) -> object:
    # Otherwise pydantic would take 930 for 930 seconds after midnight.
    if isinstance(value, time) and value.tzinfo is None:
        return value
    if not isinstance(value, str) or not _TIME_OF_DAY.fullmatch(value):
        raise ValueError("should be a time of day such as 09:30:00")
    return value


def _listed(value: object) -> object:
    """A list as it stands; from the environment, a JSON list or texts between commas."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return _from_json(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"should be JSON ({error})") from None


def _named_lists(value: object) -> object:
    value = _from_json(value)
    if not isinstance(value, dict):
        raise ValueError('should be named lists of codes, such as {"banks": ["600000.SH", "601*.SH"]}')
    return value


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def _host(value: str) -> str:
    if not _HOST_NAME.fullmatch(value):
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("should be an IP address (without brackets) or a host name") from None
    return value


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value.lower()):
        raise ValueError("should be an origin such as https://desk.example:8443, without a path")
    return value.lower()


def _fault(value: str) -> str:
    if not value.strip():
        raise ValueError("should not be empty")
    return value


def _token(value: SecretStr) -> SecretStr:
    if value.get_secret_value() and not _TOKEN.fullmatch(value.get_secret_value()):
        raise ValueError("should be visible ASCII without spaces, at most 4096 characters")
    return value


def _feed_addresses(value: str) -> str:
    if value:
        for address in value.split(","):
            _feed_address(address)
    return value


def _feed_address(value: str) -> None:
    try:
        url = urlsplit(value)
        is_address = url.scheme in ("ws", "wss") and bool(url.hostname) and url.port != 0
    except ValueError:  # brackets without an address, or a port that is none
        is_address = False
    if not is_address or re.search(r"[\s@?#]", value) or url.path in ("", "/"):
        raise ValueError("should be a hub's address such as ws://192.168.1.5:8765/feed, without credentials")


def _redis(value: str) -> str:
    if value and not _REDIS.fullmatch(value):
        raise ValueError("should be a Redis address such as redis://127.0.0.1:6379/0")
    return value


def _relay_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("should be letters, digits, - and _, at most 64")
    return value


def _universes(value: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    for name, patterns in value.items():
        if not _UNIVERSE.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a universe: letters, digits and & . + - _ only, at most 64")
        for pattern in patterns:
            try:
                topics.parse(f"tick:{pattern}", {})
            except topics.TopicError:
                raise ValueError(f"{pattern!r} in {name} is neither a code nor a pattern such as 688*.SH") from None
    return value


def _terminal_address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError("should be an address with its port such as 127.0.0.1:58610")
    _host(host)
    return value


def _name(value: str) -> str:
    if not _UNIVERSE.fullmatch(value):
        raise ValueError("should be a name of letters, digits and & . + - _, at most 64")
    return value


_Addresses = Annotated[tuple[Annotated[str, AfterValidator(_terminal_address)], ...], BeforeValidator(_listed)]
_Names = Annotated[tuple[Annotated[str, AfterValidator(_name)], ...], BeforeValidator(_listed)]
_Topics = Annotated[tuple[str, ...], BeforeValidator(_listed)]
_Whole = Annotated[int, BeforeValidator(_no_bool)]
_Number = Annotated[float, BeforeValidator(_no_bool)]
_File = Annotated[Path | None, BeforeValidator(_empty_is_none)]


class Settings(BaseModel):
    """Every setting with its default, bounds and meaning; ``hub.example.toml`` explains them at more length.

    Raises pydantic's ``ValidationError`` for a value out of bounds and for values that contradict each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: Annotated[str, AfterValidator(_host)] = Field(default="127.0.0.1", description="address to listen on")
    port: _Whole = Field(default=8765, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    insecure: bool = Field(default=False, description="listen beyond loopback without a token")
    token: Annotated[SecretStr, AfterValidator(_token)] = Field(
        default=SecretStr(""), description="what clients must show; empty: nothing"
    )
    token_file: _File = Field(default=None, description="file that holds the token")
    allowed_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_listed)] = Field(
        default=(), description="browser origins allowed besides the hub's own host"
    )

    source: Literal["sim", "recording", "xtquant", "feed"] = Field(default="sim", description="where rows come from")
    symbols: _Whole = Field(default=5500, ge=1, le=60_000, description="simulator: number of instruments")
    interval: _Number = Field(default=3.0, ge=0.1, le=600, description="simulator: seconds between two rows of a stock")
    seed: _Whole = Field(default=1, ge=0, le=2**63 - 1, description="simulator: the same seed gives the same market")
    speed: _Number = Field(default=1.0, ge=0, le=100_000, description="pace: 1 original, n times, 0 as fast as it goes")
    sim_start: Annotated[time, BeforeValidator(_time_of_day)] = Field(
        default=time(9, 30), description="simulator: time of day to start at"
    )
    faults: Annotated[tuple[Annotated[str, AfterValidator(_fault)], ...], BeforeValidator(_listed)] = Field(
        default=(), description="simulator: faults to play, such as silence@30+15"
    )
    recording: _File = Field(default=None, description="recording to play (CSV, CSV.gz or Parquet)")
    record: _File = Field(default=None, description="file to write what the source delivers")

    xtquant_folder: _File = Field(default=None, description="xtquant: folder that holds the package, if not installed")
    xtquant_addresses: _Addresses = Field(
        default=(), description="xtquant: terminals to try, such as 127.0.0.1:58610; none: look for one"
    )
    xtquant_sectors: _Names = Field(
        default=("沪深A股", "京市A股", "沪深指数", "沪深ETF"), description="xtquant: sector lists whose ticks are taken"
    )
    xtquant_universes: _Names = Field(
        default=("上证A股", "深证A股", "创业板", "科创板", "沪深300", "中证500", "上证50"),
        description="xtquant: further sector lists that clients may name",
    )
    max_subscriptions: _Whole = Field(
        default=50, ge=0, le=100_000, description="xtquant: single subscriptions that the account may have"
    )
    subscription_grace_s: _Number = Field(
        default=60.0, ge=0, le=86_400, description="xtquant: seconds that an unwanted single subscription is kept"
    )
    xtquant_stale_after_s: _Number = Field(
        default=12.0, ge=1, le=3600, description="xtquant: age of quotes in seconds at which they are subscribed anew"
    )
    xtquant_refresh_at: Annotated[time, BeforeValidator(_time_of_day)] = Field(
        default=time(8, 45), description="xtquant: time of day to ask for instruments, sectors and calendar again"
    )
    xtquant_probe_at: Annotated[time, BeforeValidator(_time_of_day)] = Field(
        default=time(9, 5), description="xtquant: time of day to try the terminal out before the open"
    )
    xtquant_token: Annotated[SecretStr, AfterValidator(_token)] = Field(
        default=SecretStr(""), description="xtquant: token of xtdatacenter, which needs no terminal"
    )
    xtquant_token_file: _File = Field(default=None, description="file that holds the token of xtdatacenter")
    xtquant_servers: _Addresses = Field(
        default=(), description="xtquant: quote servers that xtdatacenter may use; none: any"
    )
    xtquant_markets: _Names = Field(
        default=("SH", "SZ", "BJ"), description="xtquant: markets whose ticks xtdatacenter loads at its start"
    )

    role: Literal["all", "feed", "edge", "feeder"] = Field(
        default="all",
        description="all is a whole hub; feed numbers rows for edges, edge serves clients, both with redis; "
        "feeder runs a source for a hub elsewhere",
    )
    to: Annotated[str, AfterValidator(_feed_addresses)] = Field(
        default="", description="feeder: address of the hub, such as ws://192.168.1.5:8765/feed; of two, with a comma"
    )
    feed_buffer_bytes: _Whole = Field(
        default=2**28, ge=2**20, le=2**40, description="feeder: bytes kept for a hub that is away"
    )
    end_with_stdin: bool = Field(
        default=False, description="feeder: end when standard input ends, as whoever started it then has"
    )
    isolate_source: bool = Field(default=False, description="hub: run the source in a process of its own")
    feed_token: Annotated[SecretStr, AfterValidator(_token)] = Field(
        default=SecretStr(""), description="hub: what feeders must show; empty: the token of the hub"
    )
    feed_token_file: _File = Field(default=None, description="file that holds the feed token")

    redis: Annotated[str, AfterValidator(_redis)] = Field(
        default="", description="feed and edge: the Redis between them, such as redis://127.0.0.1:6379/0"
    )
    relay_name: Annotated[str, AfterValidator(_relay_name)] = Field(
        default="argus", description="feed and edge: which of several deployments that share a Redis"
    )
    relay_shards: _Whole = Field(
        default=16, ge=1, le=64, description="feed and edge: over so many streams topics are spread; alike everywhere"
    )
    relay_rows: _Whole = Field(
        default=200_000, ge=1, le=100_000_000, description="feed: rows that Redis keeps for edges that missed them"
    )
    relay_lease_s: _Number = Field(
        default=2.0, ge=0.2, le=60, description="feed: seconds without a word after which another feed takes over"
    )
    warm_rows: _Whole = Field(
        default=500_000, ge=0, le=100_000_000, description="edge: rows of the past that it begins with"
    )

    edge_topics: _Topics = Field(
        default=(), description="edge: the topics that it serves, such as tick:600000.SH; none: all of the feed's"
    )

    log_format: Literal["console", "json"] = Field(default="console", description="how log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level that is logged"
    )
    log_file: _File = Field(default=None, description="file to log to instead of standard error, bounded in size")

    data: Path = Field(default=Path("data"), description="folder for what the hub keeps on disk: the journal")
    journal: bool = Field(default=True, description="keep the trading day on disk, so that it outlives the hub")
    journal_fsync_s: _Number = Field(
        default=1.0, ge=0, le=3600, description="seconds between two times of making the journal safe from a power loss"
    )
    journal_days: _Whole = Field(default=5, ge=1, le=10_000, description="trading days that the journal keeps")
    journal_bytes: _Whole = Field(
        default=40 * 2**30, ge=2**24, le=2**50, description="bytes that the journal may take on disk"
    )

    ring_rows: _Whole = Field(default=5000, ge=1, le=100_000_000, description="rows kept per topic")
    ring_bytes: _Whole = Field(default=2**29, ge=2**22, le=2**44, description="bytes kept in all topics together")
    max_clients: _Whole = Field(default=20_000, ge=1, le=10_000_000, description="clients connected at once")
    max_topics: _Whole = Field(
        default=10_000, ge=1, le=10_000_000, description="topics and patterns one client may hold"
    )
    max_message_bytes: _Whole = Field(default=2**18, ge=2**10, le=2**26, description="largest message from a client")
    max_requests_per_s: _Number = Field(
        default=200.0,
        ge=0.1,
        le=1_000_000,
        description="requests per second per client, lasting; bursts of five seconds' worth",
    )
    max_pending_bytes: _Whole = Field(
        default=2**24, ge=2**16, le=2**34, description="bytes that may wait for one client"
    )

    flush_interval_ms: _Number = Field(
        default=0.0, ge=0, le=1000, description="how long a row may wait for others to travel with"
    )
    stall_s: _Number = Field(
        default=30.0,
        ge=0.1,
        le=3600,
        description="seconds without progress, or with more than half of the bytes waiting, until a client is closed",
    )
    heartbeat_s: _Number = Field(default=5.0, ge=0.05, le=3600, description="seconds between heartbeats")
    drain_s: _Number = Field(default=5.0, ge=0, le=600, description="seconds to send what is pending when stopping")
    stale_after_s: _Number = Field(
        default=15.0, ge=0.1, le=86_400, description="age in seconds that makes a market stale"
    )
    auth_timeout_s: _Number = Field(default=5.0, ge=0.1, le=600, description="seconds a client has to show its token")
    ping_interval_s: _Number = Field(default=20.0, ge=0.1, le=3600, description="seconds between keep-alive pings")
    ping_timeout_s: _Number = Field(
        default=20.0, ge=0.1, le=3600, description="seconds to wait for the answer to a ping"
    )
    compression: bool = Field(default=False, description="offer permessage-deflate")

    universes: Annotated[
        Mapping[str, Annotated[tuple[str, ...], BeforeValidator(_listed)]],
        BeforeValidator(_named_lists),
        AfterValidator(_universes),
    ] = Field(default={}, description="named sets of codes and patterns, as JSON")

    _token_from_file: SecretStr = PrivateAttr(SecretStr(""))
    _feed_token_from_file: SecretStr = PrivateAttr(SecretStr(""))
    _xtquant_token_from_file: SecretStr = PrivateAttr(SecretStr(""))

    @property
    def is_isolated(self) -> bool:
        """Whether the source runs in a child process. That of a terminal always does: it may take its process along."""
        return self.isolate_source or (self.source == "xtquant" and not self.end_with_stdin)

    @property
    def quote_token(self) -> str:
        """The token of xtdatacenter, from ``xtquant_token`` or its file; empty where a terminal is used."""
        return self.xtquant_token.get_secret_value() or self._xtquant_token_from_file.get_secret_value()

    @property
    def access_token(self) -> str:
        """What clients must show, from ``token`` or ``token_file``; empty where nothing is required."""
        return self.token.get_secret_value() or self._token_from_file.get_secret_value()

    @property
    def feeding_token(self) -> str:
        """What feeders must show to a hub, from ``feed_token`` or its file, else as `access_token`; empty: nothing."""
        own = self.feed_token.get_secret_value() or self._feed_token_from_file.get_secret_value()
        return own or self.access_token

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> Self:
        if self.source == "recording" and self.recording is None:
            raise ValueError("source is recording: recording should name the file to play (--recording FILE)")
        # Somebody who names a recording must never be shown invented prices instead.
        if self.source != "recording" and self.recording is not None:
            raise ValueError(f"recording is set, but source is {self.source} (--source recording plays it)")
        if self.source != "sim" and self.faults:
            raise ValueError(f"faults are played by the simulator only, but source is {self.source}")
        if self.record is not None and self.recording is not None and self.record.resolve() == self.recording.resolve():
            raise ValueError(f"record would overwrite the recording that is played ({self.record})")
        return self

    @model_validator(mode="after")
    def _the_role_fits(self) -> Self:
        if self.role == "feeder":
            if not self.to:
                raise ValueError("role is feeder: to should name the hub (--to ws://HOST:8765/feed)")
            if self.source == "feed":
                raise ValueError("a feeder runs a source of its own: source feed is for the hub that it feeds")
            if self.isolate_source:
                raise ValueError("isolate_source is for hubs: a feeder is the process of its own")
            if self.feed_token.get_secret_value() or self.feed_token_file is not None:
                raise ValueError("feed_token is for hubs: a feeder shows its token (ARGUS_TOKEN or token_file)")
        elif self.to:
            raise ValueError(f"to is set, but role is {self.role} (--role feeder runs a source for a hub elsewhere)")
        elif self.end_with_stdin:
            raise ValueError("end_with_stdin is for feeders (--role feeder)")
        if self.isolate_source and self.source == "feed":
            raise ValueError("source feed waits for a feeder that somebody else starts: there is none to isolate")
        return self

    @model_validator(mode="after")
    def _the_relay_fits(self) -> Self:
        if self.role in ("feed", "edge"):
            if not self.redis:
                raise ValueError(
                    f"role is {self.role}: redis should name the Redis between feed and edges (--redis URL)"
                )
        elif self.redis:
            raise ValueError(f"redis is set, but role is {self.role} (--role feed or --role edge uses it)")
        if self.role == "edge":
            if self.source != "sim" or self.isolate_source:
                raise ValueError("an edge has no source: its rows come from the feed")
            if self.record is not None:
                raise ValueError("record is for the feed: an edge has no source")
            try:
                Serving(self.edge_topics, self.universes)
            except ValueError as error:
                raise ValueError(f"edge_topics: {error}") from None
        return self

    @model_validator(mode="after")
    def _nobody_unknown_is_let_in(self) -> Self:
        if self.token_file is not None:
            if self.token.get_secret_value():
                raise ValueError("token and token_file are both set: keep one of them")
            self._token_from_file = _read_token(self.token_file, "token_file")
        if self.feed_token_file is not None:
            if self.feed_token.get_secret_value():
                raise ValueError("feed_token and feed_token_file are both set: keep one of them")
            self._feed_token_from_file = _read_token(self.feed_token_file, "feed_token_file")
        if self.xtquant_token_file is not None:
            if self.xtquant_token.get_secret_value():
                raise ValueError("xtquant_token and xtquant_token_file are both set: keep one of them")
            self._xtquant_token_from_file = _read_token(self.xtquant_token_file, "xtquant_token_file")
        if self.role != "feeder" and not (self.access_token or self.insecure or is_loopback(self.host)):
            raise ValueError(
                f"host {self.host} can be reached from other machines: set a token (ARGUS_TOKEN or token_file), "
                "or let anybody in with --insecure"
            )
        return self


def _read_token(path: Path, setting: str) -> SecretStr:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{setting} {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{setting} {path} holds no text") from None
    if not token:
        raise ValueError(f"{setting} {path} is empty")
    try:
        return _token(SecretStr(token))
    except ValueError as error:
        raise ValueError(f"the token in {setting} {path} {error}") from None
