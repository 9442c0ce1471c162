"""A server on loopback that speaks OpenAI's API for embeddings over bags of hashed words, and fails in all the ways in
which real ones fail. It answers in base64 where that is asked for, as OpenAI's client does, and with its rows in any
order."""

from __future__ import annotations

import base64
import json
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np

from tests.hashing_embedder import HashingEmbedder

Answer = tuple[int, dict[str, str], Any]
Fault = Callable[[dict[str, Any]], Answer]


class EmbeddingServer:
    """`with EmbeddingServer() as server:` serves the model `hashing` at `server.base_url`."""

    def __init__(self, *, most_texts: int = 2048, most_characters: int = 100_000) -> None:
        self.embedder = HashingEmbedder()
        self.requests: list[dict[str, Any]] = []
        """The bodies that arrived, in order."""
        self.keys: list[str | None] = []
        self.faults: deque[Fault] = deque()
        """What to answer instead, request by request."""
        self.speaks_base64 = True
        self.most_texts, self.most_characters = most_texts, most_characters
        self.answering = threading.Event()
        """Requests wait for it."""
        self.answering.set()

    def __enter__(self) -> Self:
        ours = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                ours.requests.append(body)
                ours.keys.append(self.headers.get("Authorization"))
                ours.answering.wait()
                status, headers, payload = ours.answer(self.path, body)
                written = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(written)))
                self.end_headers()
                self.wfile.write(written)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def texts(self) -> list[str]:
        """All texts that were sent."""
        return [text for body in self.requests for text in body["input"]]

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        """Gives the next fault, or what a server in order answers."""
        if self.faults:
            return self.faults.popleft()(body)
        if path != "/v1/embeddings" or body["model"] != "hashing":
            return refused(404, "no such model")(body)
        if len(body["input"]) > self.most_texts or max(map(len, body["input"])) > self.most_characters:
            return refused(413, "too much")(body)
        return rows(self.vectors(body), is_base64=self.speaks_base64 and body.get("encoding_format") == "base64")

    def vectors(self, body: dict[str, Any]) -> list[Any]:
        """Embeds what a body asks for, three times as long as it should be."""
        return [3 * self.embedder.embed_query(text) for text in body["input"]]


def rows(vectors: list[Any], *, is_base64: bool = False) -> Answer:
    """Answers with vectors, the last first."""

    def written(vector: Any) -> Any:
        return (
            base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
            if is_base64
            else list(map(float, vector))
        )

    data = [
        {"object": "embedding", "index": number, "embedding": written(vector)} for number, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return 200, {}, {"object": "list", "model": "hashing", "data": data[::-1], "usage": usage}


def refused(status: int, message: str = "no", *, retry_after: str | None = None) -> Fault:
    """Answers with an HTTP error in OpenAI's form."""
    headers = {"Retry-After": retry_after} if retry_after else {}
    return lambda body: (status, headers, {"error": {"message": message, "type": "t", "code": None}})


def garbage(payload: bytes) -> Fault:
    """Answers 200 with these bytes."""
    return lambda body: (200, {}, payload)
