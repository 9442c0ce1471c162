"""The ways to answer that a decision matrix compares: a model, the prompt it gets, and whether it is shown what the
library found. They are read from a file, or follow from what is configured. Keys never stand in that file: an arm names
the environment variable that holds its key, and whoever writes a key there is told so without it being repeated."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from bot.errors import TellUser
from bot.settings import Settings
from bot.vocabulary import Endpoint, Frozen, ModelVersion, TuningJob

QUOTING = "quoting"
"""The model name of the persona that needs no model."""
MOST_ARMS = 12

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_OURS = frozenset({"model", "messages", "stream", "stream_options", "response_format", "extra_headers", "api_key"})


class Arm(Frozen):
    """One way to answer."""

    model_config = ConfigDict(extra="forbid")  # people write it, and may slip

    name: str = Field(min_length=1, max_length=60)
    model: str = Field(min_length=1)
    """As its server names it; `quoting` needs no server."""
    endpoint: Endpoint = "persona"
    """The configured server that it is at, where `base_url` names none."""
    base_url: str | None = None
    api_key_env: str | None = None
    """The environment variable that holds the key for `base_url`."""
    prompt: Literal["full", "one_line", "plain", "grammar"] = "full"
    """`full`: the whole persona. `one_line`: what tuned models are used to. `plain`: passages and question, nothing
    else. `grammar`: the whole persona, and the server holds the model to a JSON schema."""
    retrieval: bool = True
    nearest: int = Field(0, ge=0, le=8)
    """Approved examples that are shown as demonstrations."""
    tuned: bool = False
    """Its model was trained on answers; so counts every model with the one-line prompt."""
    price_per_million_in: float | None = Field(None, ge=0)
    price_per_million_out: float | None = Field(None, ge=0)
    """In one currency for all arms."""
    setup_effort: str = ""
    training_cost: float | None = Field(None, ge=0)
    training_seconds: float | None = Field(None, ge=0)
    training_examples: int | None = Field(None, ge=0)
    options: Mapping[str, Any] = {}
    """Further fields of its requests, such as `max_tokens`."""

    @field_validator("base_url")
    @classmethod
    def address_holds_no_secret(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://none")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be http://… or https://…")
        if "@" in parts.netloc or parts.query:
            raise ValueError("must hold no password or key; name a variable in api_key_env")
        return value

    @field_validator("api_key_env")
    @classmethod
    def key_is_named_not_given(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.fullmatch(value):
            raise ValueError("must be the name of an environment variable, such as MY_API_KEY, never the key itself")
        return value

    @field_validator("options")
    @classmethod
    def options_are_free(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        if taken := sorted(_OURS & options.keys()):
            raise ValueError(f"{', '.join(taken)} cannot be set here")
        return options

    @model_validator(mode="before")
    @classmethod
    def one_line_means_tuned(cls, given: object) -> object:
        if isinstance(given, dict):
            if "api_key" in given:
                raise ValueError("a key does not belong here; name the variable that holds it in api_key_env")
            return {"tuned": given.get("prompt") == "one_line"} | given
        return given

    @model_validator(mode="after")
    def quoting_needs_passages(self) -> Arm:
        if self.is_quoting and not self.retrieval:
            raise ValueError("the quoting persona can only answer with retrieval")
        if (self.price_per_million_in is None) != (self.price_per_million_out is None):
            raise ValueError("price_per_million_in and price_per_million_out go together")
        return self

    @property
    def is_quoting(self) -> bool:
        return self.model == QUOTING and self.base_url is None

    @property
    def told(self) -> dict[str, Any]:
        """What a report may say of it: neither address nor further fields of its requests."""
        return self.model_dump(mode="json", exclude={"base_url", "endpoint", "api_key_env", "options"})


def read_arms(path: Path) -> list[Arm]:
    """Reads a JSON or YAML file with a list of arms, bare or under `arms`. Raises TellUser, naming the arm and what is
    wrong with it, and repeats no value, for it may be a secret."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            content = json.loads(text)
        else:
            import yaml

            content = _yaml(yaml, text)
    except (OSError, UnicodeDecodeError) as error:
        raise TellUser(f"{path} cannot be read as UTF-8 text: {error}") from error
    except json.JSONDecodeError as error:
        raise TellUser(f"{path}, line {error.lineno}: this is no valid JSON: {error.msg}") from None
    entries = content.get("arms") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise TellUser(f"{path} holds no list of arms. The README shows one.")
    arms = [_arm(entry, f"{path}, arm {number}") for number, entry in enumerate(entries, 1)]
    if len(arms) > MOST_ARMS:
        raise TellUser(f"{path} holds {len(arms)} arms; {MOST_ARMS} are the most.")
    return distinct(arms, str(path))


def _yaml(yaml: Any, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise TellUser(f"{line}the file of arms is no valid YAML: {error.problem}") from None


def _arm(entry: object, where: str) -> Arm:
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        where = f"{where} (“{entry['name'][:60]}”)"
    try:
        arm = Arm.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        raise TellUser(f"{where}: {f'{field}: ' if field else ''}{problem}") from None
    if arm.api_key_env and not os.environ.get(arm.api_key_env):
        raise TellUser(f"{where}: api_key_env: the environment variable {arm.api_key_env} is not set")
    return arm


def distinct(arms: Sequence[Arm], where: str) -> list[Arm]:
    """Gives the arms, if no two have one name. Raises TellUser."""
    names = [arm.name for arm in arms]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise TellUser(f"{where}: two arms are named “{twice}”.")
    return list(arms)


def configured_arms(
    settings: Settings,
    versions: Sequence[ModelVersion] = (),
    jobs: Sequence[TuningJob] = (),
    *,
    has_examples: bool = False,
) -> list[Arm]:
    """Gives the arms that follow from the settings and the newest tuned version, the reference first."""
    arms: list[Arm] = []
    if settings.persona_model:
        arms += _untuned(settings.persona_model, "persona", "", has_examples)
    tuned = next((version for version in reversed(versions) if version.prompt == "one_line"), None)
    if tuned:
        job = next((one for one in jobs if one.dataset == tuned.dataset), None)
        if job and (job.base, job.endpoint) != (settings.persona_model, "persona"):
            arms += _untuned(job.base, job.endpoint, "small, ", has_examples)
        learnt = _learnt(tuned, job)
        arms += [
            Arm(name=f"{tuned.id} + passages", prompt="one_line", **learnt),
            Arm(name=f"{tuned.id} alone", prompt="one_line", retrieval=False, **learnt),
        ]
    elif not arms and settings.tuner_base_url:
        arms += _untuned(settings.tuner_model, "tuner", "small, ", has_examples)
    return [*arms, Arm(name="quoting", model=QUOTING, setup_effort="none: no model")]


def _untuned(model: str, endpoint: Endpoint, prefix: str, has_examples: bool) -> list[Arm]:
    def arm(name: str, **how: Any) -> Arm:
        return Arm(name=prefix + name, model=model, endpoint=endpoint, **how)

    arms = [arm("full prompt", setup_effort="ingest the documents"), arm("plain", prompt="plain")]
    if has_examples:
        arms.append(arm("nearest examples", nearest=2, setup_effort="ingest, and approve some answers"))
    return [*arms, arm("grammar", prompt="grammar", setup_effort="ingest the documents")]


def _learnt(version: ModelVersion, job: TuningJob | None) -> dict[str, Any]:
    """The fields that tell of a tuned version, with what its training took as far as it is known."""
    fields: dict[str, Any] = {"model": version.model, "endpoint": version.endpoint, "tuned": True}
    if job and job.status == "succeeded":
        fields["training_seconds"] = round((job.updated_at - job.created_at).total_seconds(), 1)
    return fields
