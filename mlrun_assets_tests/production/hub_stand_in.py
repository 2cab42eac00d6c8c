"""A stand-in of the Hub on this machine: what its API answers when a model is pushed."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Hub:
    """The repositories, the tokens that may write, and every request: method, path, token."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    refuse: int | None = None


@contextmanager
def local_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body, path = self._body(), self.path.partition("?")[0]
            token = str(self.headers.get("Authorization", "")).removeprefix("Bearer ")
            hub.requests.append((self.command, path, token))
            status, said, headers = _respond(hub, self.command, path, token, body)
            content = json.dumps(said).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 - what http.server looks for

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Response = tuple[int, Any, dict[str, str]]


def _respond(hub: Hub, method: str, path: str, token: str, body: bytes) -> Response:  # noqa: PLR0911
    if method == "PUT":
        hub.objects[path.rpartition("/")[2]] = body
        return 200, {}, {}
    if token != "a-token":
        return 401, {}, {"X-Error-Message": "Invalid credentials in Authorization header"}
    if method == "POST" and hub.refuse:
        return hub.refuse, {"error": "you may not"}, {}
    sent = json.loads(body) if body and not path.endswith("/commit/main") else {}
    if path == "/api/repos/create":
        name = f"{sent['organization']}/{sent['name']}"
        private = sent.get("visibility") == "private" or sent.get("private", False)
        hub.repositories[name] = Repository(private)
        return 200, {"url": f"{hub.url}/{name}"}, {}
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}, {}
    if path.endswith("/info/lfs/objects/batch"):
        uploads = [
            {**each, "actions": {"upload": {"href": f"{hub.url}/objects/{each['oid']}"}}}
            for each in sent["objects"]
        ]
        return 200, {"transfer": "basic", "objects": uploads}, {}
    return _repository(hub, path, sent, body)


def _repository(hub: Hub, path: str, sent: dict[str, Any], body: bytes) -> Response:
    owner, name, *rest = path.removeprefix("/api/models/").split("/")
    repository = hub.repositories.get(f"{owner}/{name}")
    if repository is None:
        return 404, {}, {"X-Error-Code": "RepoNotFound"}
    if not rest:
        return 200, {"id": f"{owner}/{name}", "private": repository.private, "sha": "0" * 40}, {}
    if rest[0] == "tree":
        tree = [
            {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
            for path, content in repository.files.items()
        ]
        return 200, tree, {}
    if rest[0] == "preupload":
        files = [
            {"path": each["path"], "shouldIgnore": False,
             "uploadMode": "lfs" if each["path"] == "weights" else "regular"}
            for each in sent["files"]
        ]  # fmt: skip
        return 200, {"files": files}, {}
    assert rest[0] == "commit"
    for entry in map(json.loads, body.splitlines()):
        value = entry["value"]
        if entry["key"] == "file":
            repository.files[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            repository.files[value["path"]] = hub.objects[value["oid"]]
        elif entry["key"] == "deletedFile":
            del repository.files[value["path"]]
    return 200, {"commitUrl": f"{hub.url}/{owner}/{name}/commit/1", "commitOid": "1" * 40}, {}
