"""The fine-tuning API, as far as we need it, through the `openai` client alone: OpenAI, Azure, or the tuner of one's
own. Waiting is bounded and nothing is repeated in here, for a job that is created twice costs twice. Every way to fail
becomes a sentence that says what to do: TryAgain when it may work later, Refused when an operator must act."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bot.errors import Broken, TryAgain
from bot.redacting import redact
from bot.vocabulary import Frozen

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types.fine_tuning import FineTuningJob

OPENAI = "https://api.openai.com/v1"
_CONNECT_S, _ANSWER_S, _UPLOAD_S = 5.0, 30.0, 300.0
_MOST_LOOKED_AT = 1_000
"""Files or jobs of the server, newest first, among which ours is looked for."""
_EVENTS_READ = 20
_PASSING = frozenset({408, 409, 425, 429})
_STEP = re.compile(r"\bstep (\d+) ?/ ?(\d+)", re.IGNORECASE)
_REASON_CHARACTERS = 300

_WHAT_TO_DO = {
    401: "It refused the key: correct TUNER_API_KEY (OPENAI_API_KEY where no tuner of its own is set).",
    403: "The key may not do that: give its project the right to fine-tune, or choose another server or model.",
    404: "It does not have that: check TUNER_BASE_URL (most end in /v1), and that it can tune TUNER_MODEL.",
    413: "The file is too large for it.",
    507: "Its disk is full: make room there, then start again.",
}
_OTHERWISE = "Correct what it names, or choose a server and TUNER_MODEL that can do it."


class Refused(Broken):
    """The server said no, and would say it again. `status` is that of HTTP, 0 where there is none."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Running(Frozen):
    """A job as the server tells of it."""

    id: str
    status: str
    training_file: str = ""
    dataset: str = ""
    """What its metadata say that it is trained on."""
    fine_tuned_model: str | None = None
    problem: str | None = None
    """The server's own reason for a failure."""


class Heard(Frozen):
    """What the events of a job tell: how far it is, 0 to 1, and what was said last."""

    progress: float
    message: str


class Tuner:
    """One server with its key. One client is kept until `aclose`."""

    def __init__(self, base_url: str | None, api_key: str | None) -> None:
        self._base_url, self._api_key = base_url or OPENAI, api_key
        self._client: AsyncOpenAI | None = None
        parts = urlsplit(self._base_url)
        self.server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        """Its address without whatever secret the URL holds."""

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def upload(self, name: str, content: bytes) -> str:
        """Uploads a file for training and gives its id; a file of that name and size that is there already, left by
        an upload whose answer nobody got, is taken instead. Raises TryAgain, Refused."""
        if known := await self._known_file(name, len(content)):
            return known
        with self._translated("upload the dataset"):
            from openai import Timeout

            created = await self._connected().files.create(
                file=(name, content, "application/jsonl"),
                purpose="fine-tune",
                timeout=Timeout(_UPLOAD_S, connect=_CONNECT_S),
            )
            return str(created.id)

    async def find(self, dataset: str, file_id: str | None, *, but_not: Sequence[str] = ()) -> Running | None:
        """Finds the job on a dataset: by its metadata, or, where a server keeps none, by its file. Raises TryAgain,
        Refused."""

        def is_ours(found: Any) -> bool:
            job = self._read(found)
            on_it = job.dataset == dataset if job.dataset else file_id is not None and job.training_file == file_id
            return on_it and job.id not in but_not

        found = await self._first("list the jobs", lambda api: api.fine_tuning.jobs.list(limit=100), is_ours)
        return self._read(found) if found else None

    async def create(
        self, *, base: str, file_id: str, dataset: str, epochs: int, batch_size: int, idempotency_key: str
    ) -> Running:
        """Begins a supervised job. Call `find` before. Raises TryAgain, Refused."""
        hyperparameters: Any = {"n_epochs": epochs, "batch_size": batch_size}
        with self._translated(f"tune {base}"):
            created = await self._connected().fine_tuning.jobs.create(
                model=base,
                training_file=file_id,
                method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
                metadata={"dataset": dataset},
                suffix="footnote",
                extra_headers={"Idempotency-Key": idempotency_key},
            )
            return self._read(created)

    async def job(self, id: str) -> Running:
        """Asks how a job stands. Raises TryAgain, Refused."""
        with self._translated(f"ask for the job {id}"):
            return self._read(await self._connected().fine_tuning.jobs.retrieve(id))

    async def cancel(self, id: str) -> Running:
        """Ends a job and gives how it stands then. Raises TryAgain, Refused."""
        with self._translated(f"cancel the job {id}"):
            return self._read(await self._connected().fine_tuning.jobs.cancel(id))

    async def delete(self, file_id: str) -> None:
        """Deletes an uploaded file. Raises TryAgain, Refused."""
        with self._translated(f"delete the file {file_id}"):
            await self._connected().files.delete(file_id)

    async def heard(self, id: str) -> Heard | None:
        """Asks what a job said last; None when it is silent, or the server has no events. Raises TryAgain."""
        try:
            with self._translated(f"ask for the events of {id}"):
                page = await self._connected().fine_tuning.jobs.list_events(id, limit=_EVENTS_READ)
                events = list(page.data)
        except Refused:
            return None
        if not events:
            return None
        return Heard(progress=max(map(_progress, events)), message=self._clean(events[0].message))

    async def ends_on(self, model: str) -> date | None:
        """Asks when a model will be shut down; None where the server does not say. Raises TryAgain, Refused."""
        with self._translated(f"ask for the model {model}"):
            told = (await self._connected().models.retrieve(model)).shutdown_date
        try:
            return date.fromisoformat(told[:10]) if told else None
        except (TypeError, ValueError):
            return None

    async def _known_file(self, name: str, size: int) -> str | None:
        def is_it(file: Any) -> bool:
            return (file.filename, file.bytes) == (name, size) and file.status != "error"

        try:
            found = await self._first(
                "list the files", lambda api: api.files.list(purpose="fine-tune", limit=100), is_it
            )
        except Refused as refused:
            if refused.status in (404, 405):  # it lists none; then a file may be there twice, which harms nobody
                return None
            raise
        return str(found.id) if found else None

    async def _first(self, doing: str, ask: Callable[[AsyncOpenAI], Any], is_it: Callable[[Any], bool]) -> Any:
        """Gives the first thing of a list for which something is so, or None; reads the list page by page."""
        seen = 0
        with self._translated(doing):
            page = await ask(self._connected())
            while page.data:
                if (found := next(filter(is_it, page.data), None)) is not None:
                    return found
                seen += len(page.data)
                if seen >= _MOST_LOOKED_AT or not page.has_next_page():
                    break
                page = await page.get_next_page()
        return None

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            from openai import AsyncOpenAI, Timeout

            self._client = AsyncOpenAI(
                base_url=self._base_url,
                api_key=self._api_key or "none",  # servers of one's own often want none, the client always one
                timeout=Timeout(_ANSWER_S, connect=_CONNECT_S),
                max_retries=0,
            )
        return self._client

    def _read(self, job: FineTuningJob) -> Running:
        """Reads a job; the client validates nothing, and servers leave out what they do not have."""
        metadata = getattr(job, "metadata", None)
        error = getattr(job, "error", None)
        reason = getattr(error, "message", None) or getattr(error, "code", None)
        return Running(
            id=job.id,
            status=job.status,
            training_file=getattr(job, "training_file", None) or "",
            dataset=str(metadata.get("dataset") or "") if isinstance(metadata, dict) else "",
            fine_tuned_model=getattr(job, "fine_tuned_model", None),
            problem=self._clean(reason) if reason else None,
        )

    def _clean(self, text: str) -> str:
        """What a server says, short, in one line, and without a secret: some repeat the key that they refuse."""
        if self._api_key:
            text = text.replace(self._api_key, "⟨key⟩")
        return redact(" ".join(text.split())[: 4 * _REASON_CHARACTERS])[:_REASON_CHARACTERS]

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """Turns what the client raises into our errors."""
        import openai

        where = f"The tuner at {urlsplit(self.server).netloc}"
        try:
            yield
        except openai.APIStatusError as error:
            raise self._by_status(error, where, doing) from error
        except openai.APITimeoutError as error:
            raise TryAgain(f"{where} did not answer in time, when asked to {doing}.") from error
        except openai.APIConnectionError as error:
            raise TryAgain(
                f"{where} cannot be reached, or hung up, when asked to {doing}. Is it running, and is TUNER_BASE_URL "
                "right?"
            ) from error
        except openai.OpenAIError as error:
            raise Refused(f"The client of the tuner is set up wrongly: {self._clean(str(error))}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise TryAgain(f"{where} sent something that is no answer, when asked to {doing}.") from error

    def _by_status(self, error: APIStatusError, where: str, doing: str) -> TryAgain | Refused:
        status, body = error.status_code, error.body if isinstance(error.body, dict) else {}
        reason = self._clean(str(body.get("message") or error.message))
        said = f"{where} answered {status}, when asked to {doing}"
        if status == 429 and error.code == "insufficient_quota":
            return Refused(f"{said}: its quota is used up. Raise it there, then start again.", status)
        if error.code == "idempotency_key_reused":
            return TryAgain(f"{said}: a request for this job is under way already.")
        if status in _PASSING or (status >= 500 and status != 507):
            return TryAgain(f"{said}: {reason}")
        told = "" if status == 401 else f" It says: {reason}"  # OpenAI repeats a part of the key
        return Refused(f"{said}.{told} {_WHAT_TO_DO.get(status, _OTHERWISE)}", status)


def _progress(event: Any) -> float:
    """Reads how far a job is from one event: from its data, or from words such as `Step 12/45`."""
    data = event.data if isinstance(event.data, dict) else {}
    step, total = data.get("step"), data.get("total_steps")
    if not isinstance(step, int) or not isinstance(total, int):
        match = _STEP.search(event.message or "")
        step, total = (int(match[1]), int(match[2])) if match else (0, 0)
    return min(1.0, max(0.0, step / total)) if total > 0 else 0.0
