"""What clients ask for, read strictly: an argument that is unknown or out of its range is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Protocol, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.local.tuner.errors import JSON, invalid

Auto = Literal["auto"]
_ID = re.compile(r"[a-z]+-[0-9A-Za-z]{1,64}")
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Hyperparameters(_Strict):
    """How long and how hard to train; `auto` leaves it to the tuner."""

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=100)] = "auto"

    def resolved(self, examples: int) -> Hyperparameters:
        """What `auto` means for that many examples: three epochs of batches of four."""
        epochs = 3 if self.n_epochs == "auto" else self.n_epochs
        batch = 4 if self.batch_size == "auto" else self.batch_size
        rate = 1.0 if self.learning_rate_multiplier == "auto" else self.learning_rate_multiplier
        return Hyperparameters(n_epochs=epochs, batch_size=min(batch, examples), learning_rate_multiplier=rate)


class _Supervised(_Strict):
    hyperparameters: Hyperparameters | None = None


class _Method(_Strict):
    type: Literal["supervised"]
    supervised: _Supervised | None = None


class JobRequest(_Strict):
    """The body of `POST /v1/fine_tuning/jobs`."""

    model: str
    training_file: str
    validation_file: str | None = None
    method: _Method | None = None
    hyperparameters: Hyperparameters | None = None
    suffix: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None

    @property
    def asked(self) -> Hyperparameters:
        """The hyperparameters, in whichever of the two places they came."""
        supervised = self.method.supervised if self.method else None
        return (supervised.hyperparameters if supervised else None) or self.hyperparameters or Hyperparameters()


def job_request(body: JSON) -> JobRequest:
    """Raises WireError."""
    method = body.get("method")
    kind = method.get("type") if isinstance(method, dict) else None
    if kind in ("dpo", "reinforcement"):
        raise invalid("method", f"This tuner trains 'supervised' only, not '{kind}'.", "unsupported_method")
    if body.get("integrations"):
        raise invalid("integrations", "This tuner reports to nobody: 'integrations' must be empty.")
    try:
        request = JobRequest.model_validate(body)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
        # Behind the names stand those of the branches of a union, which the caller never wrote.
        names = [str(part) for part in first["loc"] if str(part) in _NAMES or first["type"] == "extra_forbidden"]
        param = ".".join(names)
        if first["type"] == "extra_forbidden":
            raise invalid(param, f"The argument '{param}' is unknown.", "unknown_parameter") from None
        if first["type"] == "missing":
            raise invalid(param, f"The argument '{param}' is required.", "missing_required_parameter") from None
        message = first["msg"]
        if names and names[-1] in Hyperparameters.model_fields:
            message = "it must be 'auto' or a number in its range"
        raise invalid(param, f"'{param}' is invalid: {message}.", "invalid_value") from None
    supervised = request.method.supervised if request.method else None
    nested = supervised.hyperparameters if supervised else None
    if nested and request.hyperparameters and nested != request.hyperparameters:
        raise invalid("hyperparameters", "The hyperparameters in 'method' and beside it differ; give them once.")
    return request


_NAMES = {*JobRequest.model_fields, *_Method.model_fields, *_Supervised.model_fields, *Hyperparameters.model_fields}


async def json_body(request: web.Request) -> JSON:
    """The object that a request brings; no body counts as an empty one. Raises WireError."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        body = json.loads(await request.read(), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise invalid(None, "The body of the request is not JSON.") from None
    if not isinstance(body, dict):
        raise invalid(None, "The body of the request must be a JSON object.")
    return body


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_HasId)


def page_bounds(request: web.Request, *, default: int, most: int) -> tuple[str | None, int]:
    """The cursor and the size of the page that is asked for. Raises WireError."""
    after, limit = request.query.get("after") or None, request.query.get("limit") or str(default)
    if after is not None and not _ID.fullmatch(after):
        raise invalid("after", "'after' must be the id of the last object of the page before.")
    if not limit.isascii() or not limit.isdigit() or len(limit) > 9 or int(limit) == 0:
        raise invalid("limit", "'limit' must be a positive whole number.")
    return after, min(int(limit), most)


def page(found: Sequence[T], after: str | None, limit: int, *, oldest_first: bool = False) -> tuple[list[T], bool]:
    """One page of what has ids that grow with time, and whether more follow; `after` may be gone meanwhile."""
    ordered = sorted(found, key=lambda one: one.id, reverse=not oldest_first)
    if after is not None:
        ordered = [one for one in ordered if (one.id > after if oldest_first else one.id < after)]
    return ordered[:limit], len(ordered) > limit


def listing(data: list[JSON], has_more: bool) -> JSON:
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": has_more}


def metadata_filter(request: web.Request) -> Callable[[dict[str, str] | None], bool]:
    """Which jobs `metadata[k]=v`, or `metadata=null`, asks for. Raises WireError."""
    wanted = {match[1]: value for key, value in request.query.items() if (match := _METADATA.fullmatch(key))}
    if "metadata" not in request.query:
        return lambda found: wanted.items() <= (found or {}).items()
    if wanted or request.query["metadata"] != "null":
        raise invalid("metadata", "Filter with either metadata[key]=value or metadata=null.")
    return lambda found: found is None
