"""The part of xtdata that the source uses, and what is known of how it behaves. All calls are the owner's.

xtdata connects again by itself whenever it is called without a connection, to whatever answers first, and what was
subscribed is then gone without a word. So the client is held here, and no call is made through another one.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from bridge.xtquant.options import DEFAULT_ADDRESS, Options, TokenMode
from bridge.xtquant.package import load

TOKEN_MODE_TIMEOUT_S: Final = 180.0
"""How long xtdatacenter may take to log in and load the markets; ten seconds and more are usual."""

_logger = logging.getLogger("argus.xtquant")

Callback = Callable[[Any], None]


class Unreachable(Exception):  # noqa: N818 (it reads as what happened)
    """No terminal could be connected to. The text is one line that says where it was looked for, and what to do."""


class LinkLost(Exception):  # noqa: N818 (it reads as what happened)
    """The connection to the terminal is gone, and with it all subscriptions."""


class Terminal:
    """One terminal, or xtdatacenter in its place.

    Args:
        on_link: is told what the link to the terminal does.
        on_quote_server: is told what the terminal's link to its quote server does.
    """

    def __init__(self, options: Options, on_link: Callback, on_quote_server: Callback) -> None:
        self.address = ""
        """Where it was found."""
        self._options = options
        self._on_link = on_link
        self._on_quote_server = on_quote_server
        self._xtdata: Any = None
        self._client: Any = None
        self._is_centre_up = False
        self.decode: Callable[[bytes], Any]
        """BSON bytes to a document; there is none before `connect`."""

    def connect(self) -> str:
        """Connect anew and return the address. Raises PackageError and Unreachable."""
        xtdata = self._loaded()
        if self._options.token_mode is not None and not self._is_centre_up:
            self._start_centre(self._options.token_mode)
        tried: list[str] = []
        for address in self._options.addresses or ("",):
            host, _, port = address.rpartition(":")
            try:
                client = xtdata.reconnect(host, int(port)) if address else xtdata.reconnect()
                xtdata.watch_quote_server_status(self._on_quote_server)
            except Exception as error:  # xtdata raises a bare Exception for whatever is in the way
                tried.append(f"{address or f'{DEFAULT_ADDRESS} and wherever a terminal says it runs'} ({error})")
                continue
            self._client = client
            self.address = address or self._peer(client)
            return self.address
        raise Unreachable(
            f"no terminal answers at {', '.join(tried)}: start miniQMT on this machine and log in, or name its "
            "address (xtquant_addresses)"
        )

    def disconnect(self) -> None:
        """Let go of the connection."""
        self._client = None
        if self._xtdata is not None:
            with suppress(Exception):
                self._xtdata.disconnect()

    def is_connected(self) -> bool:
        """Whether the connection still is the one that was made."""
        return self._client is not None and bool(self._client.is_connected())

    def sectors(self) -> list[str]:
        """The names of all sector lists."""
        return list(self._ask().get_sector_list() or ())

    def sector(self, name: str) -> list[str]:
        """The codes of a sector list; empty where the terminal has none of this name."""
        return [code for code in self._ask().get_stock_list_in_sector(name) or () if isinstance(code, str)]

    def instruments(self, codes: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """What the terminal knows of instruments; one that it does not know is left out. A call for each."""
        xtdata = self._ask()
        found = {code: xtdata.get_instrument_detail(code) for code in codes}
        return {code: detail for code, detail in found.items() if isinstance(detail, dict)}

    def trading_dates(self) -> list[int]:
        """The trading days up to now, each as the epoch milliseconds of its midnight in Shanghai."""
        return list(self._ask().get_trading_dates("SH") or ())

    def holidays(self) -> list[str]:
        """The holidays that the terminal knows, as YYYYMMDD."""
        return list(self._ask().get_holidays() or ())

    def full_tick(self, codes: Sequence[str]) -> dict[str, Any]:
        """The newest tick of each instrument, by code."""
        ticks = self._ask().get_full_tick(list(codes))
        return ticks if isinstance(ticks, dict) else {}

    def subscribe_whole(self, codes: Sequence[str], callback: Callback) -> int:
        """Subscribe the ticks of many instruments at once. Returns the number; 0 or less: refused."""
        return int(self._ask().subscribe_whole_quote(list(codes), callback=callback))

    def subscribe(self, code: str, period: str, callback: Callback) -> int:
        """Subscribe one instrument in one period, from now on. Returns the number; 0 or less: refused."""
        return int(self._ask().subscribe_quote(code, period=period, count=0, callback=callback))

    def unsubscribe(self, number: int) -> None:
        """End a subscription."""
        self._ask().unsubscribe_quote(number)

    def _loaded(self) -> Any:
        if self._xtdata is None:
            xtdata: Any = load(self._options.folder)
            xtdata.enable_hello = False
            self.decode = load(self._options.folder, "xtbson").BSON.decode
            # It would decode on the native threads, at ten times the cost, and print what a
            # callback raises. A version of xtdata that has it no more decodes by itself, which does no harm.
            xtdata.subscribe_callback_wrapper = _as_it_comes
            # It is only kept there, and given to each client when that is made: so before the first connection.
            xtdata.watch_xtquant_status(self._on_link)
            self._xtdata = xtdata
        return self._xtdata

    def _ask(self) -> Any:
        """Where to call. Raises LinkLost."""
        if self._xtdata is None or not self.is_connected():
            raise LinkLost("the connection to the terminal is lost")
        return self._xtdata

    def _peer(self, client: Any) -> str:
        with suppress(Exception):
            return str(client.get_peer_addr())
        return DEFAULT_ADDRESS

    def _start_centre(self, mode: TokenMode) -> None:
        """Log in with the token; from then on the connection is to this process itself."""
        centre = load(self._options.folder, "xtdatacenter")
        mode.home.mkdir(parents=True, exist_ok=True)
        centre.set_token(mode.token)
        centre.set_data_home_dir(str(mode.home))
        centre.set_wholequote_market_list(list(mode.markets))
        if mode.servers:
            centre.set_allow_optmize_address(list(mode.servers))
        try:
            centre.init()
        except Exception as error:  # ConnectionError for the token and the network, others for its files
            raise Unreachable(f"xtdatacenter can't log in: {_without(mode.token, str(error))}") from None
        self._is_centre_up = True
        _logger.info("xtdatacenter runs in this process, its data is in %s", mode.home)


def _as_it_comes(callback: Callback) -> Callback:
    return callback


def _without(secret: str, text: str) -> str:
    return text.replace(secret, "…") if secret else text
