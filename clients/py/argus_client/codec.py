"""Bytes to messages and back, in either encoding of ``argus.v1``; no socket, no session.

A codec lives as long as one connection: the ``welcome`` that it decodes first tells it the fields of the rows.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgpack

from argus_client.errors import ProtocolError
from argus_client.messages import Data, Message, Welcome, parse, request_id
from argus_client.rows import ORIGINS, Origin, Schemas

Encoding = Literal["msgpack", "json"]
Frame = str | bytes
"""The payload of a text or a binary WebSocket message."""

_ORIGINS: Final[Mapping[object, Origin]] = {**dict(enumerate(ORIGINS)), **{origin: origin for origin in ORIGINS}}


class Codec(ABC):
    """One of the two encodings. Both give the same messages and the same rows."""

    subprotocol: str

    def __init__(self) -> None:
        self._schemas = Schemas({})

    @abstractmethod
    def encode(self, request: Mapping[str, Any]) -> Frame:
        """Encode a request."""

    @abstractmethod
    def _read(self, frame: Frame) -> Message:
        """Decode a message, raising whatever a malformed one makes happen."""

    def decode(self, frame: Frame) -> Message:
        """Decode a message of the hub.

        Raises:
            ProtocolError: the message is malformed, or lacks something.
        """
        try:
            message = self._read(frame)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, msgpack.UnpackException) as error:
            raise ProtocolError(f"the hub sent a malformed message: {type(error).__name__}: {error!s:.200}") from error
        if isinstance(message, Welcome):
            self._schemas = Schemas(message.schemas)
        return message

    def _data(self, channel: str, origin: object, values: Sequence[Any], request: int | str | None) -> Data:
        known = _ORIGINS[origin]
        return Data(known, self._schemas.rows(channel, known, values), request)


class MsgpackCodec(Codec):
    """Binary messages: control messages are maps, data messages positional arrays."""

    subprotocol = "argus.v1.msgpack"

    def encode(self, request: Mapping[str, Any]) -> Frame:  # noqa: D102
        packed: bytes = msgpack.packb(request)
        return packed

    def _read(self, frame: Frame) -> Message:
        message = msgpack.unpackb(frame)
        if isinstance(message, dict):
            return parse(message)
        channel, origin, values, *request = message
        return self._data(channel, origin, values, request[0] if request else None)


class JsonCodec(Codec):
    """Text messages: everything is an object with a ``type``, rows are objects too."""

    subprotocol = "argus.v1.json"

    def encode(self, request: Mapping[str, Any]) -> Frame:  # noqa: D102
        return json.dumps(request, ensure_ascii=False, separators=(",", ":"))

    def _read(self, frame: Frame) -> Message:
        message = json.loads(frame)
        if message["type"] != "data":
            return parse(message)
        channel = message["channel"]
        fields = self._schemas.fields(channel)
        values = [[row[name] for name in fields] for row in message["rows"]]
        return self._data(channel, message["origin"], values, request_id(message))


CODECS: Final[Mapping[Encoding, type[Codec]]] = {"msgpack": MsgpackCodec, "json": JsonCodec}
