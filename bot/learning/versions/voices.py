"""Who answers a question: the version of the persona that is live where it was asked. The register is read anew for
every answer, so that promoting and rolling back take effect at once in every process, and models stay open, so that
switching costs no connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.answering import Demonstrate, PersonaModel, Voice
from bot.errors import TellUser
from bot.log import log
from bot.persona import Persona
from bot.vocabulary import CONFIGURED, Endpoint, ModelVersion

if TYPE_CHECKING:
    from bot.learning.versions.register import Register

Open = Callable[[Endpoint, str], PersonaModel]
"""Gives the model of a name at an endpoint. Raises TellUser when the settings lack the endpoint."""


class Voices:
    """The versions that can answer; `register` is None where nothing but the configured one can."""

    def __init__(
        self,
        configured: PersonaModel,
        open_model: Open,
        register: Register | None = None,
        demonstrate: Demonstrate | None = None,
        *,
        persona: Persona,
    ) -> None:
        """`persona` is what they all answer by."""
        self.persona = persona
        self._configured, self._open, self._register = configured, open_model, register
        self._demonstrate = demonstrate
        self._models: dict[tuple[Endpoint, str], PersonaModel] = {}

    async def at(self, channel_id: str) -> Voice:
        """Gives the voice that is live in a channel. Behind it stands what would be live without it, and at last the
        configured one, for when it cannot be had."""
        voice = self.configured
        if self._register is None:
            return voice
        routing = await self._register.routing()
        order = (routing.version_for(channel_id), routing.live, *routing.before[-1:], CONFIGURED)
        tuned = list(dict.fromkeys(order[: order.index(CONFIGURED)]))
        for id in reversed(tuned):
            try:
                voice = replace(await self.of(id), instead=voice)
            except TellUser as error:
                log.error("version_not_to_be_had", version=id, instead=voice.version, cause=str(error))
        return voice

    async def of(self, id: str) -> Voice:
        """Gives the voice of a version. Raises TellUser when there is none, or the settings lack its endpoint."""
        if id == CONFIGURED:
            return self.configured
        version = await self._register.version(id) if self._register else None
        if version is None:
            raise TellUser(f"There is no version `{id[:40]}`.")
        return self.speaking(version)

    def speaking(self, version: ModelVersion) -> Voice:
        """Gives the voice of a version that need not be registered."""
        place = (version.endpoint, version.model)
        if place not in self._models:
            self._models[place] = self._open(*place)
        demonstrate = self._demonstrate if version.prompt == "full" else None
        return Voice(self._models[place], version.prompt, version.id, demonstrate)

    @property
    def configured(self) -> Voice:
        """The voice that the settings name."""
        return Voice(self._configured, demonstrate=self._demonstrate)

    async def aclose(self) -> None:
        """Closes all models."""
        for model in (self._configured, *self._models.values()):
            if close := getattr(model, "aclose", None):
                await close()
