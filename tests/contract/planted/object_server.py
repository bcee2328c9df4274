"""A small object store over HTTP: GET, PUT, DELETE and LIST, with ETag and conditional writes.

python object_server.py --port 8123 --token secret [--folder DIR]

GET    /NAME                    200 with the object, its ETag and X-Meta; 404
PUT    /NAME                    200; 412 if If-Match or If-None-Match: * does not hold
       X-Meta: text             kept with the object, and given by LIST
       X-Lifetime: seconds      the object goes after so many seconds, by the clock of this server
DELETE /NAME                    204; 404; 412
GET    /?prefix=P&after=N&limit=K   {"objects": [{"name", "etag", "meta", "size"}], "more": bool}, in order
GET    /?usage                  {"bytes": n}
"""

import argparse
import bisect
import hashlib
import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGEST = 64 << 20
LONGEST_LIFETIME = 2**31 - 1


class Store:
    """Objects in memory, and in a folder if there is one."""

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.lock = folder, threading.Lock()
        self.objects: dict[str, dict[str, Any]] = {}
        self.names: list[str] = []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.glob("*.object"):
                head, body = file.read_bytes().split(b"\n", 1)
                self._set(json.loads(head)["name"], json.loads(head) | {"body": body})

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()}.object"

    def _set(self, name: str, made: dict[str, Any]) -> None:
        if name not in self.objects:
            bisect.insort(self.names, name)
        self.objects[name] = made

    def _drop(self, name: str) -> None:
        del self.objects[name]
        del self.names[bisect.bisect_left(self.names, name)]
        if self.folder is not None:
            self._file(name).unlink(missing_ok=True)

    def _alive(self, name: str) -> dict[str, Any] | None:
        found = self.objects.get(name)
        if found is not None and found["until"] is not None and found["until"] <= time.time():
            self._drop(name)
            return None
        return found

    @staticmethod
    def _holds(found: dict[str, Any] | None, match: str | None, none_match: str | None) -> bool:
        if none_match is not None and found is not None:
            return False
        return match is None or (found is not None and found["etag"] == match)

    def get(self, name: str) -> dict[str, Any] | None:
        with self.lock:
            return self._alive(name)

    def put(self, name: str, body: bytes, meta: str, until: float | None, match: str | None, none: str | None) -> str:
        with self.lock:
            if not self._holds(self._alive(name), match, none):
                return ""
            etag = f'"{uuid.uuid4().hex}"'
            if self.folder is not None:
                head = json.dumps({"name": name, "etag": etag, "meta": meta, "until": until}).encode()
                fresh = self._file(name).with_suffix(".new")
                fresh.write_bytes(head + b"\n" + body)
                fresh.rename(self._file(name))
            self._set(name, {"name": name, "etag": etag, "meta": meta, "until": until, "body": body})
            return etag

    def delete(self, name: str, match: str | None) -> int:
        with self.lock:
            found = self._alive(name)
            if found is None:
                return 404
            if not self._holds(found, match, None):
                return 412
            self._drop(name)
            return 204

    def list(self, prefix: str, after: str, limit: int) -> dict[str, Any]:
        given: list[dict[str, Any]] = []
        with self.lock:
            start = bisect.bisect_right(self.names, after) if after else bisect.bisect_left(self.names, prefix)
            while start < len(self.names) and self.names[start].startswith(prefix):
                found = self._alive(self.names[start])
                if found is None:
                    continue
                if len(given) == limit:
                    return {"objects": given, "more": True}
                about = {what: found[what] for what in ("name", "etag", "meta")}
                given.append(about | {"size": len(found["body"])})
                start += 1
        return {"objects": given, "more": False}

    def usage(self) -> int:
        with self.lock:
            return sum(len(found["body"]) + len(name) for name, found in self.objects.items())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    store: Store
    token: str

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def name(self, body: bytes | None = None) -> str | None:
        if self.headers.get("Authorization", "") != f"Bearer {self.token}":
            self.answer(401)
            return None
        return unquote(urlsplit(self.path).path[1:])

    def do_GET(self) -> None:
        name = self.name()
        if name is None:
            return None
        if name:
            found = self.store.get(name)
            if found is None:
                return self.answer(404)
            return self.answer(200, found["body"], ETag=found["etag"], X_Meta=found["meta"])
        asked = {what: values[0] for what, values in parse_qs(urlsplit(self.path).query, True).items()}
        if "usage" in asked:
            return self.answer(200, json.dumps({"bytes": self.store.usage()}).encode())
        given = self.store.list(
            asked.get("prefix", ""), asked.get("after", ""), min(int(asked.get("limit", 1000)), 1000)
        )
        self.answer(200, json.dumps(given).encode())
        return None

    def do_PUT(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if length > LARGEST:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(length)
        name = self.name()
        if len(body) < length or name is None:
            return None
        lifetime, until = self.headers.get("X-Lifetime"), None
        if lifetime is not None:
            if not 0 <= int(lifetime) <= LONGEST_LIFETIME:
                return self.answer(400)
            until = time.time() + int(lifetime)
        conditions = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        etag = self.store.put(name, body, self.headers.get("X-Meta", ""), until, *conditions)
        self.answer(200, ETag=etag) if etag else self.answer(412)
        return None

    def do_DELETE(self) -> None:
        name = self.name()
        if name is not None:
            self.answer(self.store.delete(name, self.headers.get("If-Match")))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="secret")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    Handler.store, Handler.token = Store(given.folder), given.token
    server = Server(("127.0.0.1", given.port), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
