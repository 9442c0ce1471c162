"""The persona model behind any server that speaks OpenAI's chat API: OpenAI, Azure, vLLM, llama.cpp. It asks for a
stream and sends nothing that a reasoning model refuses. Waiting is bounded, a call is repeated at most once and only
while nothing was written, and every way to fail becomes one of two: it may work later, or an operator must act."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bot.answering import Prompt
from bot.errors import Broken, ModelUnavailable, RequestRefused

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

LONGEST_COMPLETION = 8_000
"""Characters; the format asks for 120 words."""

_LONGEST_THOUGHT = 400_000
_CONNECT_TIMEOUT_S = 2.0
_ATTEMPTS = 2
_LONGEST_RETRY_AFTER_S = 5.0
_PASSING = frozenset({408, 409, 425, 429})

_WHAT_TO_CHECK = {
    401: "it refused the key: check OPENAI_API_KEY",
    403: "it refused the key for this model: check OPENAI_API_KEY and the project's rights",
    404: "it does not know this model or path: check PERSONA_MODEL and OPENAI_BASE_URL (most end in /v1)",
    400: "it refused the request: check that PERSONA_MODEL is a chat model with room for five passages",
}


class _Hopeless(ModelUnavailable):
    """Failed in a way that asking again at once would not change."""


class CutOff(_Hopeless):
    """The text reached its greatest length; all of it up to there was given."""


class OpenAIModel:
    """Writes through `/chat/completions`; see `answering.PersonaModel`. One client is kept until `aclose`."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 20,
        options: Callable[[Prompt], Mapping[str, Any]] = lambda prompt: {},
        used: Callable[[int, int], None] = lambda tokens_in, tokens_out: None,
    ) -> None:
        """`options` gives further fields of a request; `used` hears what it took, where the server says it."""
        self.name = name
        self._options, self._used = options, used
        self.provider = urlsplit(base_url or "https://api.openai.com/v1").hostname or ""
        self._base_url, self._api_key, self._timeout_s = base_url, api_key, timeout_s
        self._client: AsyncOpenAI | None = None

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def write(self, prompt: Prompt) -> AsyncIterator[str]:
        """Yields the text as it comes, without the model's thoughts.

        Raises ModelUnavailable when the server is down, slow, busy or talks nonsense, also in the middle of a text
        that is cut off, and Broken when an operator must act.
        """
        import stamina

        _repeat_unheard()
        texts: AsyncGenerator[str, None] = self._texts(prompt)
        async for attempt in stamina.retry_context(
            on=_again, attempts=_ATTEMPTS, timeout=None, wait_initial=0.2, wait_max=1.0, wait_jitter=0.2
        ):
            with attempt:
                texts = self._texts(prompt)
                first = await anext(texts)
        async with aclosing(texts):
            yield first
            async for text in texts:
                yield text

    async def _texts(self, prompt: Prompt) -> AsyncGenerator[str, None]:
        """One call's text; at least one piece, or an error."""
        length, finish = 0, None
        thoughts = _Thoughts()
        with _translated():
            chat: Any = prompt.messages  # plain dictionaries are what goes over the wire
            stream: AsyncStream[ChatCompletionChunk] = await self._connected().chat.completions.create(
                model=self.name, messages=chat, stream=True, **self._options(prompt)
            )
            async with aclosing(stream):
                async for chunk in stream:
                    text, finish = _read(chunk, finish)
                    self._hear_usage(getattr(chunk, "usage", None))
                    text = thoughts.without(text)[: LONGEST_COMPLETION - length]
                    length += len(text)
                    if text:
                        yield text
                    if length >= LONGEST_COMPLETION:
                        raise CutOff(f"{self.name} wrote {LONGEST_COMPLETION} characters and did not stop")
        if rest := thoughts.rest()[: LONGEST_COMPLETION - length]:
            yield rest
        if finish is None:
            raise ModelUnavailable(f"{self.name} broke off before the end of its answer")
        if finish in ("length", "content_filter"):
            kind = CutOff if finish == "length" else _Hopeless
            raise kind(f"{self.name} was stopped by its server: {finish}")
        if not length and not rest:
            raise ModelUnavailable(f"{self.name} wrote nothing")

    def _hear_usage(self, usage: object) -> None:
        tokens_in, tokens_out = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens"))
        if isinstance(tokens_in, int) and isinstance(tokens_out, int):
            self._used(tokens_in, tokens_out)

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            from openai import AsyncOpenAI, Timeout

            self._client = AsyncOpenAI(
                base_url=self._base_url,
                api_key=self._api_key or "none",  # servers of one's own often want none, the client always one
                timeout=Timeout(self._timeout_s, connect=min(_CONNECT_TIMEOUT_S, self._timeout_s)),
                max_retries=0,
            )
        return self._client


def _read(chunk: Any, finish: str | None) -> tuple[str, str | None]:
    """Takes text and reason to finish from a chunk, which the client does not validate. Thoughts are not text."""
    choices = getattr(chunk, "choices", None)
    if not isinstance(choices, list):
        raise ModelUnavailable("the model's server sent a chunk without choices")
    if not choices:
        return "", finish  # how some report what was used
    delta = getattr(choices[0], "delta", None)
    content = getattr(delta, "content", None)
    if content is not None and not isinstance(content, str):
        raise ModelUnavailable("the model's server sent content that is no text")
    return content or "", getattr(choices[0], "finish_reason", None) or finish


class _Thoughts:
    """Leaves out what a model writes between `<think>` and `</think>`, however the tags are cut into pieces."""

    def __init__(self) -> None:
        self._held = ""
        self._is_thinking = False
        self._length = 0

    def without(self, text: str) -> str:
        self._held += text
        said = ""
        while True:
            tag = "</think>" if self._is_thinking else "<think>"
            before, found, after = self._held.partition(tag)
            if found:
                said += "" if self._is_thinking else before
                self._held, self._is_thinking = after, not self._is_thinking
                continue
            kept = next((size for size in range(len(tag) - 1, 0, -1) if self._held.endswith(tag[:size])), 0)
            done = self._held[: len(self._held) - kept]
            self._held = self._held[len(done) :]
            if not self._is_thinking:
                return said + done
            self._length += len(done)
            if self._length > _LONGEST_THOUGHT:
                raise _Hopeless("the model thinks without an end")
            return said

    def rest(self) -> str:
        """What looked like the beginning of a tag and was none."""
        held, self._held = self._held, ""
        return "" if self._is_thinking else held


@contextmanager
def _translated() -> Iterator[None]:
    """Turns what the client raises into our errors."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _by_status(error) from error
    except openai.APITimeoutError as error:
        raise ModelUnavailable("the model's server did not answer in time") from error
    except openai.APIConnectionError as error:
        raise ModelUnavailable("the model's server cannot be reached, or hung up") from error
    except openai.APIError as error:
        raise ModelUnavailable(f"the model's server reports an error: {error.message[:200]}") from error
    except openai.OpenAIError as error:
        raise Broken(f"the client of the model's server is set up wrongly: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelUnavailable("the model's server sent something that is no chat completion") from error


def _by_status(error: APIStatusError) -> ModelUnavailable | Broken:
    status = error.status_code
    if status not in _PASSING and status < 500:
        kind = RequestRefused if status in (400, 413, 422) else Broken
        return kind(f"The model's server answered {status}: {_WHAT_TO_CHECK.get(status, _WHAT_TO_CHECK[400])}.")
    try:
        wait_s = float(error.response.headers.get("retry-after", "0"))
    except ValueError:  # a date: longer than an asker waits
        wait_s = _LONGEST_RETRY_AFTER_S + 1
    if wait_s > _LONGEST_RETRY_AFTER_S:
        return _Hopeless(f"the model's server answered {status} and asks to wait {wait_s:.0f} s")
    return _Busy(f"the model's server answered {status}", wait_s)


class _Busy(ModelUnavailable):
    """Asks for a wait that is short enough to be kept."""

    def __init__(self, text: str, wait_s: float) -> None:
        super().__init__(text)
        self.wait_s = wait_s


@cache
def _repeat_unheard() -> None:
    """Keeps stamina from logging: a call that works the second time is no news, and what fails for good is logged."""
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks(())


def _again(error: Exception) -> bool | float:
    if isinstance(error, _Hopeless):
        return False
    if isinstance(error, _Busy) and error.wait_s:
        return error.wait_s
    return isinstance(error, ModelUnavailable)
