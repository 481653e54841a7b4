"""nginx with the nchan module, as Debian packages them: fed over HTTP, read over WebSocket."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.fanout.contestants.base import (
    START_TIMEOUT_S,
    Contestant,
    Place,
    Served,
    TrialFailed,
    connect,
    free_port,
    running,
    upgrade,
)
from benchmarks.fanout.rows import RowMaker, Template, code

_MODULE: Final = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_SETTINGS: Final = """
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 15000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 64k;
    keepalive_requests 1000000000;
    nchan_shared_memory_size 256M;
    server {{
        listen 127.0.0.1:{port};
        location = /sub {{
            nchan_subscriber websocket;
            nchan_channel_id_split_delimiter ",";
            nchan_channel_id $arg_id;
            nchan_subscriber_first_message newest;
        }}
        location = /pub {{
            nchan_publisher http;
            nchan_channel_id $arg_id;
            nchan_message_buffer_length 0;
        }}
    }}
}}
"""


class Nchan(Contestant):
    """One worker. A topic is a channel; a client subscribes to all of its channels in one URL, up to 255 of them."""

    name = "nchan"
    title = "nginx with nchan"
    ready_when_open = True
    has_patterns = False

    def missing(self, cache: Path) -> str:  # noqa: D102
        if shutil.which("nginx") and _MODULE.exists():
            return ""
        return "no nginx with nchan (Debian: apt-get install nginx libnginx-mod-nchan)"

    def version(self, cache: Path) -> str:  # noqa: D102
        said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr  # noqa: S607
        return said.strip()

    @contextmanager
    def serve(self, place: Place) -> Iterator[Served]:  # noqa: D102
        port = free_port()
        settings = place.folder / "nginx.conf"
        settings.write_text(_SETTINGS.format(module=_MODULE, folder=place.folder, port=port))
        with running(["nginx", "-p", str(place.folder), "-c", str(settings)], place) as process:
            connect(port).close()
            yield Served(port, port, (process.pid, *_workers(process.pid)))

    def request(self, topics: Sequence[str]) -> bytes:  # noqa: D102
        return upgrade(f"/sub?id={','.join(topic.partition(':')[2] for topic in topics)}")

    def hello(self, topics: Sequence[str]) -> bytes:  # noqa: D102
        return b""

    def message(self, row: RowMaker, symbols: Sequence[int]) -> Template:  # noqa: D102
        rows = Template()
        for symbol in symbols:
            lines = [f"POST /pub?id={code(symbol)} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {row.size}"]
            rows.add("\r\n".join((*lines, "Content-Type: application/octet-stream", "", "")).encode())
            rows.add_row(row, symbol)
        return rows


def _workers(pid: int) -> list[int]:
    """The processes that serve: the first one listens before they are there."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if found := children.read_text(encoding="ascii").split():
            return list(map(int, found))
        time.sleep(0.02)
    raise TrialFailed("nginx has no worker")
