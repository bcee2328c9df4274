"""A real HTTP server on the loopback that answers JSON, in a thread of the test's."""

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


class JsonServer:
    """The server, on any free port; a context manager. Who inherits says in ``answer`` what it answers."""

    def __enter__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer(dict(parse_qsl(urlsplit(self.path).query)))

            def do_POST(self):
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, question):
                status, answer, *more = server.answer(self.command, urlsplit(self.path).path, question)
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
                with suppress(ConnectionError):  # whoever asked may have given up
                    self.send_response(status)
                    for name, value in (headers | dict(*more)).items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_args):
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_exc):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method, path, question):
        """The status and the body of a response, which is JSON unless it is bytes; perhaps headers, too."""
        raise NotImplementedError
