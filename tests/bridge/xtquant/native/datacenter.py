"""The one module that xtquant lacks outside Windows, scripted: what xtdata.py calls, answered by a terminal in a test.

It is put beside the real package by `tests.bridge.xtquant.support.wheel`. A client of it speaks to a scripted terminal
(`support.terminal`) over TCP, at the very address that xtdata was told: a pickled tuple after its length. As in the
native one, a call blocks until it is answered, and callbacks come on threads of its own.
"""

import itertools
import os
import pickle
import queue
import socket
import struct
import threading
import time

DISPATCHERS = 3
NOTES = os.environ.get("SCRIPTED_NOTES")
TOKENS = {"good token"}

_centre = {"token": "", "home": "", "port": 0}


def rpc_init(config_dir):
    return 0


def register_create_nparray(function):
    return None


def get_local_server_port():
    return _centre["port"]


def set_config_dir(folder):
    return None


def set_data_home_dir(folder):
    _centre["home"] = folder


def set_token(token):
    _centre["token"] = token


def set_wholequote_market_list(markets):
    _centre["markets"] = markets


def set_allow_optmize_address(addresses):
    _centre["servers"] = addresses


def log_init():
    return None


def start_init_quote():
    return None


def get_status():
    return {"init_done": True}


def fetch_auth_markets():
    return {"done": int(_centre["token"] in TOKENS), "markets": []}


def fetch_server_list_status():
    from xtquant import xtbson

    info = {"loginparam": {"ip": "1.2.3.4", "port": 55300}, "errorcode": 1, "boerror": f"bad token {_centre['token']}"}
    return xtbson.BSON.encode({"server": info})


def fetch_init_result(keys):
    return {}


def listen(ip, first, last):
    """The quote server's part in token mode is a scripted terminal, too: where it is, the environment says."""
    _centre["port"] = int(os.environ["SCRIPTED_CENTRE_PORT"])
    return ip, _centre["port"]


def _note(to, what):
    """For benchmarks: write down when the callback of some quotes was called, by the time of the first of them."""
    if NOTES and isinstance(what, bytes):
        called_ns = time.time_ns()
        place = what.find(b"\x12time\0")
        if place >= 0:
            with open(NOTES, "a") as file:
                file.write(f"{struct.unpack_from('<q', what, place + 6)[0]} {called_ns}\n")


class IPythonApiClient:
    """One connection to a terminal."""

    def __init__(self):
        self._address = ("", 0)
        self._socket = None
        self._connected = False
        self._callbacks = {}
        self._controls = {}
        self._answers = {}
        self._ids = itertools.count(1)
        self._writing = threading.Lock()
        self._said = queue.SimpleQueue()

    # What xtdata.py calls

    def init(self):
        return None

    def load_config(self, file, section):
        return 0

    def set_config_addr(self, address):
        host, port = address.split(":")
        self._address = host, int(port)

    def connect(self):
        try:
            self._socket = socket.create_connection(self._address, timeout=10)
        except OSError as error:
            return -1, str(error)
        self._socket.settimeout(None)
        self._connected = True
        for work in (self._read, *[self._dispatch] * DISPATCHERS):
            threading.Thread(target=work, name="scripted-native", daemon=True).start()
        return 0, ""

    def is_connected(self):
        return self._connected

    def shutdown(self):
        self._connected = False
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self._socket.close()

    def registerCommonControlCallback(self, name, callback):  # noqa: N802
        self._controls[name] = callback

    def commonControl(self, name, parameters):  # noqa: N802
        from xtquant import xtbson

        return xtbson.BSON.encode(self._call("control", name, dict(xtbson.BSON.decode(parameters))))

    def get_data_dir(self):
        return ""

    def get_app_dir(self):
        return "."

    def get_peer_addr(self):
        return f"{self._address[0]}:{self._address[1]}"

    def get_server_tag(self):
        from xtquant import xtbson

        return xtbson.BSON.encode({"tag": "scripted"})

    def get_sector_list(self):
        return self._call("sector_list")

    def get_stock_list_in_sector(self, name, timetag):
        return self._call("sector", name)

    def get_instrument_detail(self, code):
        from xtquant import xtbson

        detail = self._call("instrument", code)
        return b"" if detail is None else xtbson.BSON.encode(detail)

    def get_trading_dates_by_market(self, market, start, end, count):
        return self._call("trading_dates", market)

    def get_holidays(self):
        return self._call("holidays")

    def get_full_tick(self, codes):
        return self._call("full_tick", codes)

    def subscribe_whole_quote(self, codes, parameters, callback):
        return self._subscribe(callback, "whole", codes)

    def subscribe_quote(self, meta, region, parameters, callback):
        from xtquant import xtbson

        asked = xtbson.BSON.decode(meta)
        return self._subscribe(callback, "single", asked["stockCode"], asked["period"])

    def unsubscribe_quote(self, number):
        self._callbacks.pop(number, None)
        return self._call("unsubscribe", number)

    # How it is done

    def _subscribe(self, callback, *what):
        return self._call(*what, then=lambda number: self._callbacks.update({number: callback}))

    def _call(self, name, *arguments, then=None):
        if not self._connected:
            raise Exception("not connected")  # a bare one, as the native layer raises
        number, answered = next(self._ids), queue.SimpleQueue()
        self._answers[number] = answered, then
        self._send((number, name, arguments))
        kind, value = answered.get()
        if kind == "raise":
            raise Exception(value)
        return value

    def _send(self, message):
        data = pickle.dumps(message)
        with self._writing:
            try:
                self._socket.sendall(struct.pack("<I", len(data)) + data)
            except OSError:
                pass  # the reader finds out

    def _receive(self, size):
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise ConnectionError
            data += part
        return bytes(data)

    def _read(self):
        try:
            while True:
                size = struct.unpack("<I", self._receive(4))[0]
                kind, *rest = pickle.loads(self._receive(size))
                if kind == "abort":
                    os.abort()
                elif kind == "push" or kind == "tell":
                    self._said.put(rest)
                else:
                    number, value = rest
                    answered, then = self._answers.pop(number)
                    if then is not None and kind == "return":
                        then(value)  # before anything that is pushed for it is read
                    answered.put((kind, value))
        except (OSError, EOFError):
            self._lose()

    def _dispatch(self):
        while (said := self._said.get()) is not None:
            to, what = said
            callback = self._controls.get(to) if isinstance(to, str) else self._callbacks.get(to)
            if callback is not None:
                _note(to, what)
                callback(what)

    def _lose(self):
        was, self._connected = self._connected, False
        self._socket.close()
        for answered, _ in list(self._answers.values()):
            answered.put(("raise", "the connection was lost"))
        if was and (callback := self._controls.get("watchxtquantstatus")) is not None:
            callback({"address": self.get_peer_addr(), "status": "disconnected"})
        for _ in range(DISPATCHERS):
            self._said.put(None)
