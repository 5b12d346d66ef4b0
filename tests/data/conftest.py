"""Small archives in the layout of CIFAR-10, and a server on loopback that can misbehave."""

import contextlib
import hashlib
import io
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from minires.data.cifar10 import FILES, FOLDER, NAMES_FILE, RECORD

RECORDS = 20  # in each file of the small archives
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """The seven files of a small CIFAR-10: random pixels, random labels 0 to 9."""
    rng = np.random.default_rng(0)
    contents = {}
    for name in FILES:
        table = rng.integers(0, 256, (RECORDS, RECORD), np.uint8)
        table[:, 0] = rng.integers(0, 10, RECORDS)
        contents[name] = table.tobytes()
    contents[NAMES_FILE] = ("\n".join(NAMES) + "\n\n").encode()  # the original ends in an empty line
    return contents


@pytest.fixture(scope="session")
def official():
    """From the files to the members of the official archive: the folder, its files and a page to read."""

    def members(files: dict[str, bytes]) -> list[tuple]:
        return [
            (FOLDER, b"", tarfile.DIRTYPE, ""),
            *((f"{FOLDER}/{name}", content) for name, content in files.items()),
            (f"{FOLDER}/readme.html", b"<html></html>"),
        ]

    return members


@pytest.fixture(scope="session")
def pack():
    """From members (name, content, type, link) to the bytes of their tar.gz, whatever they are."""

    def packed(members: list[tuple]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, content, *special in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                info.type, info.linkname = special or (tarfile.REGTYPE, "")
                tar.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    return packed


@pytest.fixture(scope="session")
def archive(files, official, pack) -> bytes:
    return pack(official(files))


class Server(ThreadingHTTPServer):
    """Serves `payload`; on request cuts the answer after `cut` bytes, ignores ranges, answers `status`, or waits.

    `length`: what it says the length is, in place of the true one.
    """

    payload = b""
    cut: int | None = None
    ranges = True
    status: int | None = None
    length: str | None = None
    pause = 0.0  # seconds, between the quarters of the answer

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []  # the Range header of each request
        self.stalled: threading.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/archive.tar.gz"

    @property
    def md5(self) -> str:
        return hashlib.md5(self.payload).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        if server.stalled:
            server.stalled.wait(10)
            return
        if server.status:
            self.send_error(server.status)
            return
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if first >= len(server.payload):
            self.send_error(416)
            return
        body = server.payload[first:]
        self.send_response(206 if asked and server.ranges else 200)
        self.send_header("Content-Length", server.length or str(len(body)))
        if asked and server.ranges:
            self.send_header("Content-Range", f"bytes {first}-{len(server.payload) - 1}/{len(server.payload)}")
        self.end_headers()
        body = body if server.cut is None else body[: server.cut]
        quarter = len(body) // 4 + 1
        with contextlib.suppress(ConnectionError):  # the client may have been killed
            for start in range(0, len(body), quarter):
                self.wfile.write(body[start : start + quarter])
                time.sleep(server.pause)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(archive, monkeypatch):
    """A running server of the small archive; shut down, thread and socket, when the test ends."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        running.payload = archive
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()
