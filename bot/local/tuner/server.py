"""The tuner as one web server: each route of OpenAI's that it keeps, behind one key."""

from __future__ import annotations

import asyncio
import hmac
import traceback
import uuid

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from bot.local.tuner.chat import Chat
from bot.local.tuner.disk import complain
from bot.local.tuner.errors import WireError, invalid, no_room
from bot.local.tuner.files import LARGEST_FILE, Files
from bot.local.tuner.jobs import Jobs
from bot.local.tuner.ledger import Ledger
from bot.local.tuner.models import Models, shown_checkpoint
from bot.local.tuner.requests import job_request, json_body, listing, metadata_filter, page, page_bounds

LARGEST_BODY = 16 * 1024 * 1024
"""Bytes of a request that is no upload."""


def application(key: str, files: Files, ledger: Ledger, jobs: Jobs, models: Models) -> web.Application:
    """The whole server as an aiohttp application. Whoever starts it starts and closes what it is given."""
    chat = Chat(models)
    routes = Routes(files, ledger, jobs, models)
    app = web.Application(middlewares=[_in_openai_form, _behind(key)], client_max_size=LARGEST_BODY)
    app.add_routes(
        [
            web.post("/v1/files", routes.create_file),
            web.get("/v1/files", routes.list_files),
            web.get("/v1/files/{id}", routes.retrieve_file),
            web.delete("/v1/files/{id}", routes.delete_file),
            web.get("/v1/files/{id}/content", routes.file_content),
            web.post("/v1/fine_tuning/jobs", routes.create_job),
            web.get("/v1/fine_tuning/jobs", routes.list_jobs),
            web.get("/v1/fine_tuning/jobs/{id}", routes.retrieve_job),
            web.post("/v1/fine_tuning/jobs/{id}/cancel", routes.cancel_job),
            web.get("/v1/fine_tuning/jobs/{id}/events", routes.list_events),
            web.get("/v1/fine_tuning/jobs/{id}/checkpoints", routes.list_checkpoints),
            web.get("/v1/models", routes.list_models),
            web.get("/v1/models/{name}", routes.retrieve_model),
            web.delete("/v1/models/{name}", routes.delete_model),
            web.post("/v1/chat/completions", chat.complete, name="chat"),
        ]
    )

    async def close_chat(_: web.Application) -> None:
        await chat.close()

    app.on_response_prepare.append(_number)
    app.on_cleanup.append(close_chat)
    return app


class Routes:
    """The routes whose answers are ours."""

    def __init__(self, files: Files, ledger: Ledger, jobs: Jobs, models: Models) -> None:
        self._files, self._ledger, self._jobs, self._models = files, ledger, jobs, models

    async def create_file(self, request: web.Request) -> web.Response:
        if request.content_type != "multipart/form-data":
            raise invalid("file", "A file is uploaded as multipart/form-data.")
        if (request.content_length or 0) > LARGEST_FILE + LARGEST_BODY:
            raise WireError(413, f"The file is larger than {LARGEST_FILE} bytes.", param="file")
        try:
            file = await self._files.receive(await request.multipart())
        except (ValueError, AssertionError, HttpProcessingError):
            raise invalid(None, "The form is broken.") from None
        return web.json_response(file.shown())

    async def list_files(self, request: web.Request) -> web.Response:
        order, purpose = request.query.get("order") or "desc", request.query.get("purpose") or "fine-tune"
        if order not in ("asc", "desc"):
            raise invalid("order", "'order' must be 'asc' or 'desc'.")
        after, limit = page_bounds(request, default=10_000, most=10_000)
        found = self._files.all() if purpose == "fine-tune" else []
        files, has_more = page(found, after, limit, oldest_first=order == "asc")
        return web.json_response(listing([file.shown() for file in files], has_more))

    async def retrieve_file(self, request: web.Request) -> web.Response:
        return web.json_response(self._files.get(request.match_info["id"]).shown())

    async def delete_file(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        self._files.delete(id)
        return web.json_response({"id": id, "object": "file", "deleted": True})

    async def file_content(self, request: web.Request) -> web.StreamResponse:
        path = self._files.content(request.match_info["id"])
        return web.FileResponse(path, headers={"Content-Type": "application/octet-stream"})

    async def create_job(self, request: web.Request) -> web.Response:
        asked = job_request(await json_body(request))
        job = await self._jobs.create(asked, request.headers.get("Idempotency-Key"))
        return web.json_response(self._jobs.shown(job))

    async def list_jobs(self, request: web.Request) -> web.Response:
        after, limit = page_bounds(request, default=20, most=100)
        is_wanted = metadata_filter(request)
        wanted = [job for job in self._ledger.all() if is_wanted(job.request.metadata)]
        jobs, has_more = page(wanted, after, limit)
        return web.json_response(listing([self._jobs.shown(job) for job in jobs], has_more))

    async def retrieve_job(self, request: web.Request) -> web.Response:
        return web.json_response(self._jobs.shown(self._ledger.get(request.match_info["id"])))

    async def cancel_job(self, request: web.Request) -> web.Response:
        return web.json_response(self._jobs.shown(await self._jobs.cancel(request.match_info["id"])))

    async def list_events(self, request: web.Request) -> web.Response:
        events = self._ledger.events(request.match_info["id"])
        after, limit = page_bounds(request, default=20, most=100)
        return web.json_response(listing(*await asyncio.to_thread(events.page, after, limit)))

    async def list_checkpoints(self, request: web.Request) -> web.Response:
        """Empty until the job has succeeded: before, no name of a checkpoint would answer."""
        job = self._ledger.get(request.match_info["id"])
        after, limit = page_bounds(request, default=10, most=100)
        found, has_more = page(job.checkpoints if job.has_model else (), after, limit)
        return web.json_response(listing([shown_checkpoint(job, checkpoint) for checkpoint in found], has_more))

    async def list_models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self._models.all()})

    async def retrieve_model(self, request: web.Request) -> web.Response:
        return web.json_response(self._models.get(request.match_info["name"]))

    async def delete_model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await self._models.delete(name)
        return web.json_response({"id": name, "object": "model", "deleted": True})


@web.middleware
async def _in_openai_form(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error has OpenAI's form. A caller who hangs up ends the writing of his answer,
    and nothing else: what was begun with files and jobs is brought to its end."""
    try:
        if request.match_info.route.name == "chat":
            response = await handler(request)
        else:
            response = await asyncio.shield(handler(request))
    except WireError as refused:
        response = refused.response()
    except web.HTTPException as refused:
        response = _of_aiohttp(request, refused).response()
    except OSError as problem:
        if request.transport is None or isinstance(problem, ConnectionError):
            raise  # the caller is gone
        complain(traceback.format_exc())
        response = no_room(problem).response()
    except Exception:
        complain(traceback.format_exc())
        response = WireError(500, "The tuner failed; the reason is in its log.", kind="server_error").response()
    return response


async def _number(_: web.Request, response: web.StreamResponse) -> None:
    """OpenAI's client shows this id with an error."""
    response.headers["x-request-id"] = f"req_{uuid.uuid4().hex}"


def _of_aiohttp(request: web.Request, refused: web.HTTPException) -> WireError:
    if refused.status == 404:
        return WireError(404, f"This tuner has no route {request.method} {request.path}.", code="unknown_url")
    if refused.status == 405:
        return WireError(405, f"{request.path} does not take {request.method}.", code="method_not_supported")
    return WireError(refused.status, f"{refused.reason}.")


def _behind(key: str) -> Middleware:
    """Lets nobody in without the key."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        if not sent or scheme.lower() != "bearer":
            raise WireError(401, "An API key is required: 'Authorization: Bearer KEY'.", code="missing_api_key")
        if not hmac.compare_digest(sent.strip().encode(errors="surrogateescape"), key.encode()):
            raise WireError(401, "The API key is wrong.", code="invalid_api_key")
        return await handler(request)

    return check
