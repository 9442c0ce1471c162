"""A fine-tuning server on loopback whose jobs go as a test says. It speaks the part of OpenAI's wire that we use, and
fails in the ways in which real ones fail: with an error, silently, or by doing what it was asked to and hanging up."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

JSON = dict[str, Any]
WAY = ("validating_files", "queued", "running", "succeeded")
KEY = "quite-a-plain-word"
BASE = "tiny"


@dataclass
class Fault:
    """What becomes of one call: this status, or a hang-up where there is none; done or not before."""

    status: int | None = None
    error: JSON = field(default_factory=dict)
    is_done: bool = False
    body: bytes | None = None
    """Sent with status 200 in the place of an answer."""


class ScriptedTuner:
    """`async with ScriptedTuner() as tuner:` serves at `tuner.base_url`. A job takes the next state of its way each
    time somebody asks for it."""

    def __init__(self, *, way: Sequence[str] = WAY, reason: str | None = None, keeps_metadata: bool = True) -> None:
        self.way, self.reason, self.keeps_metadata = tuple(way), reason, keeps_metadata
        self.files: dict[str, JSON] = {}
        self.uploaded: dict[str, JSON] = {}
        """All files that ever were; `files` are those that are there."""
        self.contents: dict[str, bytes] = {}
        self.jobs: dict[str, JSON] = {}
        self.events: list[JSON] = []
        """The events of every job, oldest first."""
        self.shutdown_date: str | None = None
        self.delays_s: dict[str, float] = {}
        """By route (`upload`, `create`, `retrieve`, …): half is waited before the deed, half after it."""
        self.calls: list[str] = []
        self.doing: list[str] = []
        """The routes that are being answered just now."""
        self.asked: list[JSON] = []
        """The bodies of the jobs that were asked for, with their idempotency keys."""
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.steps: dict[str, deque[str]] = {}
        """What lies before each job."""
        self._by_key: dict[str, str] = {}
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        for method, path, name in (
            ("POST", "/v1/files", "upload"),
            ("GET", "/v1/files", "list_files"),
            ("POST", "/v1/fine_tuning/jobs", "create"),
            ("GET", "/v1/fine_tuning/jobs", "list_jobs"),
            ("GET", "/v1/fine_tuning/jobs/{id}", "retrieve"),
            ("GET", "/v1/fine_tuning/jobs/{id}/events", "list_events"),
            ("POST", "/v1/fine_tuning/jobs/{id}/cancel", "cancel"),
            ("DELETE", "/v1/files/{id}", "delete"),
            ("GET", "/v1/models/{id}", "model"),
        ):
            app.router.add_route(method, path, self._handler(name))
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def fault(
        self, name: str, status: int | None = None, *, times: int = 1, is_done: bool = False, **error: Any
    ) -> None:
        """Lets the next calls of a route fail; `error` is what OpenAI's `error` object holds."""
        self._faults[name].extend(Fault(status, error, is_done) for _ in range(times))

    def nonsense(self, name: str) -> None:
        """Lets the next call of a route answer something that is none, although it was done."""
        self._faults[name].append(Fault(is_done=True, body=b"<html>Please log in.</html>"))

    def _handler(self, name: str) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.calls.append(name)
            if request.headers.get("Authorization") != f"Bearer {KEY}":
                return _error(401, message=f"Incorrect API key: {request.headers.get('Authorization')}")
            delay_s = self.delays_s.get(name, 0)
            await asyncio.sleep(delay_s / 2)
            fault = self._faults[name].popleft() if self._faults[name] else None
            response = await getattr(self, f"_{name}")(request) if fault is None or fault.is_done else None
            await asyncio.sleep(delay_s / 2)
            if fault is None:
                assert response is not None
                return response
            if fault.body is not None:
                return web.Response(body=fault.body, content_type="text/html")
            if fault.status is not None:
                return _error(fault.status, **fault.error)
            assert request.transport is not None
            request.transport.close()
            return web.Response()

        async def noted(request: web.Request) -> web.StreamResponse:
            self.doing.append(name)
            try:
                return await handle(request)
            finally:
                self.doing.remove(name)

        async def undisturbed(request: web.Request) -> web.StreamResponse:
            return await asyncio.shield(noted(request))  # what was asked for is done, whoever hangs up

        return undisturbed

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField) and form["purpose"] == "fine-tune"
        content = file.file.read()
        id = f"file-{next(self._numbers)}"
        self.contents[id] = content
        self.files[id] = self.uploaded[id] = {
            "id": id,
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": file.filename,
            "purpose": "fine-tune",
            "status": "processed",
        }
        return web.json_response(self.files[id])

    async def _list_files(self, request: web.Request) -> web.Response:
        return _page(request, list(self.files.values()))

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = request.headers["Idempotency-Key"]
        self.asked.append({**body, "idempotency_key": key})
        if key in self._by_key:
            return web.json_response(self.jobs[self._by_key[key]])
        if body["model"] != BASE:
            return _error(404, message=f"The model '{body['model']}' does not exist", code="model_not_found")
        if body["training_file"] not in self.files:
            return _error(400, message=f"There is no file '{body['training_file']}'.", param="training_file")
        id = f"ftjob-{next(self._numbers)}"
        self._by_key[key] = id
        self.steps[id] = deque(self.way)
        self.jobs[id] = {
            "id": id,
            "object": "fine_tuning.job",
            "created_at": int(time.time()),
            "model": body["model"],
            "training_file": body["training_file"],
            "status": self.steps[id].popleft(),
            "fine_tuned_model": None,
            "error": None,
            "metadata": body.get("metadata") if self.keeps_metadata else None,
            "hyperparameters": body["method"]["supervised"]["hyperparameters"],
            "organization_id": "org-scripted",
            "result_files": [],
            "seed": 1,
        }
        return web.json_response(self.jobs[id])

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return _page(request, list(self.jobs.values()))

    async def _retrieve(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        if id not in self.jobs:
            return _error(404, message=f"Could not find fine tune: {id}", code="fine_tune_not_found")
        if self.steps[id]:
            status = self.steps[id].popleft()
            self.jobs[id]["status"] = status
            if status == "succeeded":
                self.jobs[id]["fine_tuned_model"] = f"ft:{BASE}:scripted::{id}"
            elif status == "failed":
                self.jobs[id]["error"] = {"code": "it_failed", "message": self.reason, "param": None}
        return web.json_response(self.jobs[id])

    async def _cancel(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        self.steps[id].clear()
        self.jobs[id]["status"] = "cancelled"
        return web.json_response(self.jobs[id])

    async def _delete(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        if self.files.pop(id, None) is None:
            return _error(404, message=f"No such File object: {id}")
        return web.json_response({"id": id, "object": "file", "deleted": True})

    async def _list_events(self, request: web.Request) -> web.Response:
        return _page(request, self.events)

    async def _model(self, request: web.Request) -> web.Response:
        model = {"id": request.match_info["id"], "object": "model", "created": 0, "owned_by": "scripted"}
        return web.json_response(model | {"shutdown_date": self.shutdown_date})


def event(message: str, **data: Any) -> JSON:
    """An event as a server tells of it."""
    told = {"id": f"ftevent-{message}", "object": "fine_tuning.job.event", "created_at": 0, "level": "info"}
    return told | {"message": message, "data": data, "type": "metrics"}


def _page(request: web.Request, oldest_first: list[JSON]) -> web.Response:
    newest_first = oldest_first[::-1]
    if after := request.query.get("after"):
        ids = [one["id"] for one in newest_first]
        newest_first = newest_first[ids.index(after) + 1 :]
    limit = int(request.query.get("limit", "20"))
    return web.json_response({"object": "list", "data": newest_first[:limit], "has_more": len(newest_first) > limit})


def _error(status: int, **error: Any) -> web.Response:
    return web.json_response(
        {"error": {"message": "no", "type": "t", "param": None, "code": None} | error}, status=status
    )
