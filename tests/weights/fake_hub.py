"""A hub on this machine: repositories with branches and commits, range requests, closed doors, and a count of bytes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """One request that was answered: what was asked, with which status, and the bytes of the answer's body."""

    verb: str
    repository: str
    revision: str
    file: str
    status: int
    bytes: int


@dataclass(frozen=True)
class FakeHub:
    """What is served, and what was asked.

    Attributes:
        address: where it is served.
        repositories: id -> revision -> folder. Every revision has a commit of its own.
        closed: id -> (status, error code) of repositories that are not for everybody.
        requests: everything asked so far.
    """

    address: str
    repositories: dict[str, dict[str, Path]] = field(default_factory=dict)
    closed: dict[str, tuple[int, str]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def commit(self, repository: str, revision: str) -> str:
        """The commit behind a branch: 40 hexadecimal digits."""
        folder = self.repositories[repository][revision]
        return hashlib.sha1(f"{repository} {folder}".encode()).hexdigest()

    def folder(self, repository: str, revision: str) -> Path | None:
        """The folder of a branch or a commit."""
        branches = self.repositories[repository]
        return next((branches[name] for name in branches if revision in (name, self.commit(repository, name))), None)

    def served(self, repository: str, ending: str) -> int:
        """Bytes served so far of files of this ending."""
        return sum(one.bytes for one in self.requests if one.repository == repository and one.file.endswith(ending))


@contextmanager
def serve() -> Iterator[FakeHub]:
    """Run a hub while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    hub = FakeHub(f"http://127.0.0.1:{server.server_address[1]}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Keep the terminal quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub: FakeHub = self.server.hub  # type: ignore[attr-defined]
        parts = self.path.strip("/").split("/")
        if "resolve" not in parts:
            self._send(hub, ("", "", ""), 200, {}, b"")
            return
        at = parts.index("resolve")
        asked = ("/".join(parts[:at]), parts[at + 1].replace("%2F", "/"), "/".join(parts[at + 2 :]))
        repository, revision, file = asked
        if repository in hub.closed:
            status, code = hub.closed[repository]
            self._send(hub, asked, status, {"X-Error-Code": code, "X-Error-Message": code} if code else {}, b"no")
        elif repository not in hub.repositories:
            self._send(hub, asked, 404, {"X-Error-Code": "RepoNotFound"}, b"no")
        elif (folder := hub.folder(repository, revision)) is None:
            self._send(hub, asked, 404, {"X-Error-Code": "RevisionNotFound"}, b"no")
        elif not (folder / file).is_file():
            head = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self._commit(hub, repository, folder)}
            self._send(hub, asked, 404, head, b"no")
        else:
            self._file(hub, asked, folder / file, self._commit(hub, repository, folder))

    def _commit(self, hub: FakeHub, repository: str, folder: Path) -> str:
        return next(
            hub.commit(repository, name) for name, place in hub.repositories[repository].items() if place == folder
        )

    def _file(self, hub: FakeHub, asked: tuple[str, str, str], path: Path, commit: str) -> None:
        content = path.read_bytes()
        head = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range", "")
        if not wanted:
            self._send(hub, asked, 200, head, content)
            return
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        piece = content[int(start) : int(end) + 1 if end else None]
        head["Content-Range"] = f"bytes {start}-{int(start) + len(piece) - 1}/{len(content)}"
        self._send(hub, asked, 206, head, piece)

    def _send(self, hub: FakeHub, asked: tuple[str, str, str], status: int, head: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in head.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = b"" if self.command == "HEAD" else body
        hub.requests.append(Request(self.command, *asked, status, len(sent)))
        self.wfile.write(sent)
