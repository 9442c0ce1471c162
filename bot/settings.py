"""Everything that an operator can set, read once from the environment and handed down. Nothing set means everything
embedded; each outside part is chosen by whether its URL or key is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from bot.errors import TellUser

SLACK_API = "https://slack.com/api/"
LOCAL_TEAM = "T0LOCAL"


class Settings(BaseModel):
    """The settings; a variable's name is the field's in capitals. The README's table is compared with this class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slack_bot_token: SecretStr | None = Field(None, description="Bot token, `xoxb-…`")
    slack_app_token: SecretStr | None = Field(
        None, description="App token, `xapp-…`; set means Socket Mode, else `POST /slack/events`"
    )
    slack_signing_secret: SecretStr | None = Field(
        None, description="Signing secret of the Slack app; needed without Socket Mode"
    )
    slack_api_url: str = Field(SLACK_API, description="Slack's Web API, or that of the local Slack")
    team_id: str | None = Field(
        None,
        description=f"Workspace whose library is used; default the token's team, without a token `{LOCAL_TEAM}`",
    )
    admin_users: frozenset[str] = Field(
        frozenset(),
        description="Slack user ids, with commas between, who are admins beside the workspace's own",
    )

    weaviate_url: str | None = Field(
        None, description="Weaviate, `http(s)://host:port`; unset means the embedded index"
    )
    weaviate_grpc_url: str | None = Field(
        None,
        description="Weaviate's gRPC, `http(s)://host:port`; default the same host, port 50051 (443 on Cloud)",
    )
    weaviate_api_key: SecretStr | None = Field(None, description="Weaviate's API key")
    weaviate_read_api_key: SecretStr | None = Field(
        None, description="A key with fewer rights to find with; default WEAVIATE_API_KEY"
    )
    weaviate_replication_factor: int = Field(
        1, ge=1, description="Nodes that hold each passage; counts when a collection is made"
    )
    weaviate_consistency: Literal["ONE", "QUORUM", "ALL"] = Field(
        "QUORUM", description="Of those, how many must agree to each read and write: `ONE`, `QUORUM` or `ALL`"
    )
    weaviate_quantization: Literal["none", "rq"] = Field(
        "none",
        description="`rq` keeps vectors in a quarter of the memory, from some 100,000 passages on; counts when a "
        "collection is made",
    )
    redis_url: str | None = Field(
        None, description="Redis 7+ or Valkey with AOF and `noeviction`; unset means an embedded Valkey"
    )
    data_dir: Path = Field(Path(".data"), description="Folder of everything embedded")
    allow_embedded: bool = Field(
        False, description="`1` lets `web` and `worker` run embedded parts against Slack's own API"
    )

    intranet_hosts: frozenset[str] = Field(
        frozenset(),
        description="Hosts, with commas between, that sources may be read from although they are not on the public "
        "internet, as `wiki.corp` or, for one port, `wiki.corp:8080`",
    )
    slack_sources: frozenset[str] = Field(
        frozenset(),
        description="Beginnings of addresses, with commas between, that admins may add in Slack beside web addresses, "
        "as `s3://handbook/` or `github://acme:`; they are read with the server's keys",
    )
    shared_folders: frozenset[str] = Field(
        frozenset(),
        description="Folders, with commas between, that are the same on every worker's machine: what is large in them "
        "is read by all workers together",
    )
    embedding_model: str = Field(
        "minilm",
        description="`minilm` (English, in the core), `multilingual` (extra), a sentence-transformers name or folder "
        "(extra `embeddings`), or the model's name at EMBEDDING_BASE_URL",
    )
    embedding_base_url: str | None = Field(None, description="Any API for embeddings like OpenAI's, `https://host/v1`")
    embedding_api_key: SecretStr | None = Field(None, description="Its key")
    embedding_dimensions: int | None = Field(
        None, ge=1, description="Length of its vectors; unset means that it is asked once"
    )
    embedding_query_prompt: str | None = Field(
        None,
        description="Put before each question, `query: ` for E5; default what the model declares, or is known for. "
        "For sentence-transformers and EMBEDDING_BASE_URL only: `minilm` and `multilingual` have what they were "
        "trained with",
    )
    embedding_passage_prompt: str | None = Field(None, description="Put before each passage; default and use as above")
    sufficiency_threshold: float = Field(
        0.75,
        ge=0,
        le=1,
        description="Certainty `(1 + cosine) / 2` of the best passage from which the bot answers",
    )
    hybrid_alpha: float = Field(0.7, ge=0, le=1, description="1 ranks by vectors alone, 0 by words alone")

    openai_api_key: SecretStr | None = Field(None, description="Key of the persona model's API")
    openai_base_url: str | None = Field(None, description="Any OpenAI-compatible API")
    persona_model: str | None = Field(
        None, description="Model name at that API; unset means the quoting persona, which needs no model"
    )
    persona_file: Path | None = Field(None, description="Your own `persona.md`; default the one in `bot/`")
    tuner_base_url: str | None = Field(
        None, description="OpenAI-compatible fine-tuning API (`python -m bot tuner` is one); default OPENAI_BASE_URL"
    )
    tuner_api_key: SecretStr | None = Field(None, description="Key of the tuner")
    tuner_model: str = Field(
        "smollm2-135m-instruct", description="Model that `train start` tunes, as the tuner names it"
    )
    trainable_providers: frozenset[str] = Field(
        frozenset({"localhost", "127.0.0.1"}),
        description="Hosts, with commas between, whose terms let you train on what their models wrote",
    )
    approval: Literal["required", "trusted voters", "off"] = Field(
        "required",
        description="What makes an example approved: an admin (`required`), a 👍 of TRUSTED_VOTERS, or any 👍 (`off`)",
    )
    trusted_voters: frozenset[str] = Field(
        frozenset(), description="Slack user ids, with commas between, whose 👍 approves where APPROVAL says so"
    )
    demonstrations: int = Field(
        2,
        ge=0,
        le=8,
        description="Approved examples nearest to the question that an untuned model is shown; 0 for none",
    )
    model_timeout_s: float = Field(20, gt=0, description="Longest wait for the persona model, in seconds")
    answer_deadline_s: float = Field(45, gt=0, description="Longest time for one answer, in seconds")

    retention_days: int = Field(30, ge=1, description="Days for which questions and answers are journalled")
    worker_concurrency: int = Field(8, ge=1, description="Questions that one worker answers at a time")
    redelivery_timeout_s: float = Field(
        15, gt=0, description="Seconds after which a killed worker's job is taken over by another"
    )
    port: int = Field(3000, description="Port of `web`: health, and Slack's events without Socket Mode")
    log_level: str = Field("INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads the variables that are set; an empty one counts as not set. Raises pydantic's ValidationError, whose
        places are the fields."""
        given = {name: environment.get(name.upper()) for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in given.items() if value})

    @field_validator(
        "admin_users",
        "trusted_voters",
        "trainable_providers",
        "intranet_hosts",
        "slack_sources",
        "shared_folders",
        mode="before",
    )
    @classmethod
    def split_commas(cls, value: object) -> object:
        return frozenset(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value

    @field_validator("embedding_base_url")
    @classmethod
    def an_address_says_how_to_get_there(cls, url: str | None) -> str | None:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("write http(s)://host:port/v1")
        return url

    @model_validator(mode="after")
    def model_needs_an_address(self) -> Self:
        if self.persona_model and not (self.openai_base_url or self.openai_api_key):
            raise ValueError("PERSONA_MODEL is set, so OPENAI_BASE_URL or OPENAI_API_KEY must be set too")
        return self

    @model_validator(mode="after")
    def embedding_server_needs_a_model(self) -> Self:
        if self.embedding_base_url and "embedding_model" not in self.model_fields_set:
            raise ValueError("EMBEDDING_BASE_URL is set, so EMBEDDING_MODEL must name one of its models")
        return self

    @model_validator(mode="after")
    def prompts_need_a_model_that_takes_them(self) -> Self:
        has_its_own = self.embedding_model in ("minilm", "minilm-int8", "multilingual") and not self.embedding_base_url
        if has_its_own and (self.embedding_query_prompt or self.embedding_passage_prompt):
            raise ValueError(
                "EMBEDDING_QUERY_PROMPT and EMBEDDING_PASSAGE_PROMPT are for other models: "
                f"EMBEDDING_MODEL={self.embedding_model} has what it was trained with"
            )
        return self

    @property
    def is_production(self) -> bool:
        """Whether a real Slack is at the other end."""
        return self.slack_bot_token is not None and self.slack_api_url.rstrip("/") == SLACK_API.rstrip("/")

    def refuse_to_listen_to_nothing(self) -> None:
        """Stops `web` and `worker` from waiting for a Slack that nobody has named. Raises TellUser."""
        if self.slack_bot_token is None:
            raise TellUser(
                "SLACK_BOT_TOKEN is not set: `web` and `worker` need a Slack app (the README says how to make one). "
                "To try Footnote without one: `make demo`."
            )
        if self.slack_app_token is None and self.slack_signing_secret is None:
            raise TellUser("Set SLACK_APP_TOKEN (Socket Mode) or SLACK_SIGNING_SECRET (signed HTTP); see the README.")

    def refuse_accidental_embedding(self) -> None:
        """Stops `web` and `worker` from starting empty on an ephemeral disk because a variable is missing.

        Raises TellUser, naming the variables.
        """
        missing = [name for name in ("redis_url", "weaviate_url") if getattr(self, name) is None]
        if self.is_production and missing and not self.allow_embedded:
            names = " and ".join(name.upper() for name in missing)
            raise TellUser(
                f"A Slack token is set, but not {names}. Set {names}, or ALLOW_EMBEDDED=1 to keep everything in "
                f"{self.data_dir} on this machine."
            )
