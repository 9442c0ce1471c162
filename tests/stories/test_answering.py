"""Step three of the way a question takes: from the Question to the one Answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

from bot.answering import LONGEST_ANSWER, LONGEST_QUESTION, Prompt, Voice, answer
from bot.errors import Broken, LibraryUnavailable, ModelUnavailable, SlackUnavailable, TryAgain
from bot.model_quoting import QuotingModel
from bot.persona import load_persona
from bot.vocabulary import Answer, Citation, Found, Hit, Passage, Question, Turn

PERSONA = load_persona()
KEYS = Passage(
    id="keys#0",
    document_id="keys",
    source="docs",
    title="API keys",
    section="Reset a key",
    url="https://docs.heronpost.example/keys",
    text="To reset an API key, open Settings > API Keys and select **Regenerate**. The old key stops working at once.",
    audience="public",
)
LIMITS = KEYS.model_copy(
    update={
        "id": "limits#0",
        "document_id": "limits",
        "title": "Rate limits",
        "section": "",
        "text": "Each key may send 40 requests a second. Above that the API answers 429.",
    }
)
MORE_KEYS = KEYS.model_copy(update={"id": "keys#1", "section": "Delete a key", "text": "Deleting a key is final."})


class SeenReply:
    """Remembers what a reader would have seen."""

    def __init__(self) -> None:
        self.statuses: list[str] = []
        self.has_status = asyncio.Event()
        self.said: list[str] = []
        self.citations: list[tuple[Citation, ...]] = []
        self.finished: list[Answer] = []

    async def status(self, text: str) -> None:
        self.statuses.append(text)
        self.has_status.set()

    async def say(self, sentence: str, citations: Sequence[Citation]) -> None:
        self.said.append(sentence)
        self.citations.append(tuple(citations))

    async def finish(self, answer: Answer) -> None:
        self.finished.append(answer)


class WrittenModel:
    """Writes what it was given, a few characters at a time, and then perhaps fails."""

    name = "written"
    provider = "test"

    def __init__(self, text: str, error: Exception | None = None, *, size: int = 5) -> None:
        self.text, self.error, self.size = text, error, size
        self.prompts: list[Prompt] = []
        self.is_closed = False

    async def write(self, prompt: Prompt) -> AsyncIterator[str]:
        self.prompts.append(prompt)
        try:
            for start in range(0, len(self.text), self.size):
                yield self.text[start : start + self.size]
            if self.error:
                raise self.error
        finally:
            self.is_closed = True


class SilentModel:
    """Never writes."""

    name = "silent"
    provider = "test"

    async def write(self, prompt: Prompt) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""


def found(*passages: Passage, is_sufficient: bool = True) -> Found:
    hits = tuple(Hit(passage=passage, score=1.0, certainty=0.8) for passage in passages)
    return Found(hits=hits, query="q", confidence=0.8 if hits else 0.0, is_sufficient=is_sufficient, embed_ms=2.0)


def question(text: str = "How do I reset my API key?", *history: Turn) -> Question:
    return Question(id="T1:C1:1.0", team_id="T1", text=text, readable=frozenset({"public"}), history=history)


class Library:
    """Finds what it was given, and counts."""

    def __init__(self, result: Found | Exception | None = None) -> None:
        self.result = found(KEYS, LIMITS) if result is None else result
        self.asked: list[Question] = []

    async def find(self, asked: Question) -> Found:
        self.asked.append(asked)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def ask(
    model: object, library: Library | None = None, asked: Question | None = None, **options: float
) -> tuple[Answer, SeenReply]:
    reply = SeenReply()
    answered = await answer(
        asked or question(),
        find=(library or Library()).find,
        voice=Voice(model),  # type: ignore[arg-type]
        persona=PERSONA,
        reply=reply,
        **options,
    )
    assert reply.finished == [answered], "finish is called exactly once, with the answer that is returned"
    said = "".join(reply.said)
    assert answered.text == said if answered.status == "answered" else not said
    assert [citation.number for citation in answered.citations] == list(range(1, len(answered.citations) + 1))
    for citation in answered.citations:
        passage = answered.passages[citation.number - 1]
        assert citation.document_id == passage.document_id and citation.quote in passage.text
    return answered, reply


async def test_a_question_is_answered_from_the_documents_with_marks() -> None:
    """The reader sees a status, then checked sentences; each mark leads to a passage that holds the sentence."""
    answered, reply = await ask(WrittenModel("Open **Settings > API Keys** and select **Regenerate** [1]."))
    assert answered.status == "answered"
    assert answered.text == "Open **Settings > API Keys** and select **Regenerate** [1]."
    assert reply.statuses == ["is looking in the documents…"]
    assert answered.citations[0].url == KEYS.url
    assert answered.model == "written"
    assert answered.confidence == 0.8


async def test_sentences_are_said_while_the_model_still_writes() -> None:
    """The first sentence is out before the second one is written."""
    reply = SeenReply()
    seen: list[int] = []

    class Watching:
        name = "watching"
        provider = "test"

        async def write(self, prompt: Prompt) -> AsyncIterator[str]:
            yield "Select Regenerate [1]. The"
            seen.append(len(reply.said))
            yield " old key stops working at once [1]."

    await answer(question(), find=Library().find, voice=Voice(Watching()), persona=PERSONA, reply=reply)
    assert seen == [1]
    assert reply.said == ["Select Regenerate [1].", " The old key stops working at once [1]."]


async def test_marks_are_numbered_in_the_order_of_first_use() -> None:
    """The passage that is cited first becomes [1], whatever its place in the prompt was."""
    answered, reply = await ask(
        WrittenModel("Each key may send 40 requests a second [2]. Select Regenerate to reset an API key [1].")
    )
    assert answered.text == ("Each key may send 40 requests a second [1]. Select Regenerate to reset an API key [2].")
    assert [passage.id for passage in answered.passages] == ["limits#0", "keys#0"]
    assert [len(each) for each in reply.citations] == [1, 2]


async def test_what_no_passage_holds_is_left_out_before_it_is_shown() -> None:
    """An invented number never reaches the reader; the rest does."""
    answered, _ = await ask(WrittenModel("Select Regenerate [1]. A key may send 90 requests a second [2]."))
    assert answered.text == "Select Regenerate [1]."
    assert "90" in answered.completion


async def test_nothing_left_means_it_declines_and_names_the_nearest_pages() -> None:
    """An answer without a valid citation is not posted as one."""
    answered, _ = await ask(WrittenModel("Call us at 555 0100 [1]! Everything will be fine."))
    assert answered.status == "declined"
    assert answered.text.startswith(PERSONA.refusal)
    assert PERSONA.human in answered.text
    assert [page.document_id for page in answered.nearest] == ["keys", "limits"]


async def test_insufficient_context_declines_without_the_model() -> None:
    """What is not near enough is not answered from."""
    model = WrittenModel("Select Regenerate [1].")
    answered, _ = await ask(model, Library(found(KEYS, is_sufficient=False)))
    assert answered.status == "declined"
    assert not model.prompts


async def test_a_vague_question_is_asked_back_with_the_pages_it_may_mean() -> None:
    """Instead of a guess, and without the model; whether the passages would be enough does not matter."""
    for is_sufficient in (True, False):
        model, vague = WrittenModel("Select Regenerate [1]."), found(KEYS, LIMITS, is_sufficient=is_sufficient)
        answered, _ = await ask(model, Library(vague.model_copy(update={"is_vague": True})))
        assert answered.status == "clarified"
        assert answered.text.count("?") == 1
        assert [page.document_id for page in answered.nearest] == ["keys", "limits"]
        assert answered.citations == () and not model.prompts


async def test_nothing_found_declines_and_points_nowhere() -> None:
    """Where no page is near, none is named."""
    answered, _ = await ask(WrittenModel("x"), Library(found()))
    assert answered.status == "declined"
    assert answered.nearest == ()
    assert "nearest" not in answered.text


async def test_the_nearest_pages_are_distinct_and_three_at_most() -> None:
    """Two passages of a page are one page."""
    others = [KEYS.model_copy(update={"id": f"p{number}", "document_id": f"p{number}"}) for number in range(4)]
    answered, _ = await ask(WrittenModel(""), Library(found(KEYS, MORE_KEYS, *others, is_sufficient=False)))
    assert [page.document_id for page in answered.nearest] == ["keys", "p0", "p1"]
    assert [page.number for page in answered.nearest] == [1, 2, 3]
    assert answered.nearest[0].section == "Reset a key"


async def test_a_model_that_refuses_is_believed_at_once() -> None:
    """The refusal sentence declines; the rest of the stream is not read, and the stream is closed."""
    model = WrittenModel(PERSONA.refusal + " But select Regenerate [1]. " * 50)
    answered, _ = await ask(model)
    assert answered.status == "declined"
    assert len(answered.completion) < 200
    assert model.is_closed


async def test_a_partial_answer_may_end_with_the_refusal() -> None:
    """What the documents hold is said, and then that they hold no more."""
    answered, _ = await ask(WrittenModel(f"Select Regenerate [1]. {PERSONA.refusal}"))
    assert answered.status == "answered"
    assert answered.text == f"Select Regenerate [1]. {PERSONA.refusal}"


@pytest.mark.parametrize("text", ["", "   ", "?", "…", "🙂", ":wave:", "\n\n"])
async def test_an_empty_message_is_asked_back(text: str) -> None:
    """No search; a friendly line says how to ask."""
    library = Library()
    answered, reply = await ask(WrittenModel("x"), library, question(text))
    assert answered.status == "clarified"
    assert not library.asked and not reply.statuses


@pytest.mark.parametrize(
    "text",
    ["hi", "Hello there!", "Thanks!", "thanks, that did it! 🎉", "ok thank you so much", "danke", "hey footnote :wave:",
     "Good morning team", "perfect, works now", "Great, thanks for the help"],
)  # fmt: skip
async def test_small_talk_is_answered_without_a_search(text: str) -> None:
    """A greeting or a thank-you gets a friendly line, uncited."""
    library = Library()
    answered, _ = await ask(WrittenModel("x"), library, question(text))
    assert answered.status == "chitchat"
    assert not library.asked and not answered.citations


@pytest.mark.parametrize(
    "text",
    ["hi, how do I reset my API key?", "thanks! and how many keys can I have?", "hello world example", "Hi",
     "what does error 429 mean", "is SSO working", "key not working", "cool down period", "great wall of keys"],
)  # fmt: skip
async def test_a_question_behind_a_greeting_is_still_a_question(text: str) -> None:
    """Politeness keeps nobody from an answer."""
    library = Library()
    await ask(WrittenModel("Select Regenerate [1]."), library, question(text))
    assert bool(library.asked) == (text != "Hi")


async def test_a_complaint_about_nothing_is_asked_back() -> None:
    """ "It does not work" alone cannot be searched; in a conversation it can."""
    vague = "hi, its not working again, pls help"
    library = Library()
    answered, _ = await ask(WrittenModel("x"), library, question(vague))
    assert answered.status == "clarified" and not library.asked
    await ask(WrittenModel("x"), library, question(vague, Turn(role="user", text="How do I reset a key?")))
    assert library.asked


async def test_a_very_long_question_is_asked_back() -> None:
    """40,000 characters are neither searched nor sent to a model."""
    library = Library()
    answered, _ = await ask(WrittenModel("x"), library, question("why " * 10_000))
    assert answered.status == "clarified" and not library.asked
    assert f"{LONGEST_QUESTION:,}" in answered.text


async def test_a_question_of_the_greatest_length_is_searched() -> None:
    """The bound is inclusive."""
    library = Library()
    await ask(WrittenModel("x"), library, question("w" * LONGEST_QUESTION))
    assert library.asked


TELLING = ("Traceback", "Error", "Exception", "weaviate", "10.0.0.7", "http", "None")


@pytest.mark.parametrize("error", [LibraryUnavailable, TryAgain, Broken])
async def test_a_library_that_is_down_is_said_so_and_the_model_is_not_asked(error: type[Exception]) -> None:
    """It never answers from the model alone, and no word of the exception is shown."""
    model = WrittenModel("Select Regenerate [1].")
    answered, _ = await ask(model, Library(error("weaviate at 10.0.0.7: Traceback, Error")))
    assert answered.status == "failed"
    assert "cannot reach the documents" in answered.text
    assert not any(word in answered.text for word in TELLING)
    assert not model.prompts


@pytest.mark.parametrize("error", [ModelUnavailable, TryAgain, Broken])
async def test_a_model_that_is_down_is_said_so_with_the_nearest_pages(error: type[Exception]) -> None:
    """The pages that were found are named all the same."""
    answered, _ = await ask(WrittenModel("", error("http://10.0.0.7 Traceback, Error")))
    assert answered.status == "failed"
    assert "model" in answered.text
    assert not any(word in answered.text for word in TELLING)
    assert [page.document_id for page in answered.nearest] == ["keys", "limits"]


async def test_a_model_that_its_server_refuses_is_stood_in_for() -> None:
    """It was deleted there: its predecessor answers, the answer says whose turn it was, and operators hear of it."""
    gone = WrittenModel("", Broken("The model's server answered 404"))
    voice = Voice(gone, "one_line", "v2", instead=Voice(WrittenModel("Select Regenerate [1]."), version="v1"))
    reply = SeenReply()
    with capture_logs() as logs:
        answered = await answer(question(), find=Library().find, voice=voice, persona=PERSONA, reply=reply)
    assert (answered.status, answered.text) == ("answered", "Select Regenerate [1].")
    assert (answered.version, answered.passed_over) == ("v1", ("v2",))
    assert reply.finished == [answered] and reply.said == ["Select Regenerate [1]."]
    (line,) = logs
    assert (line["event"], line["version"], line["log_level"]) == ("version_not_to_be_had", "v2", "error")


async def test_nobody_stands_in_for_a_model_that_is_only_busy_or_has_begun() -> None:
    """What passes by itself is no reason to change the version, and what was said is not said again by another."""
    for text, error in (("", ModelUnavailable("503")), ("Select Regenerate [1]. The old", Broken("404"))):
        other = WrittenModel("The old key stops working at once [1].")
        voice = Voice(WrittenModel(text, error), version="v2", instead=Voice(other))
        answered = await answer(question(), find=Library().find, voice=voice, persona=PERSONA, reply=SeenReply())
        assert answered.passed_over == () and not other.prompts


async def test_operators_are_told_what_the_asker_is_not() -> None:
    """A wrong key is an error in the log, a busy server a warning; both with the question's id."""
    with capture_logs() as logs:
        await ask(WrittenModel("", Broken("it refused the key: check OPENAI_API_KEY")))
        await ask(WrittenModel("", ModelUnavailable("503")))
    assert [entry["log_level"] for entry in logs] == ["error", "warning"]
    assert logs[0]["question"] == question().id and "OPENAI_API_KEY" in logs[0]["reason"]


async def test_a_stream_that_breaks_keeps_what_was_shown_and_ends_honestly() -> None:
    """Nothing shown is withdrawn; the unfinished sentence is not said."""
    answered, _ = await ask(WrittenModel("Select Regenerate [1]. The old key", ModelUnavailable("reset by peer")))
    assert answered.status == "answered"
    assert answered.text.startswith("Select Regenerate [1].\n\nI had to stop here")
    assert "The old key" not in answered.text


async def test_the_deadline_holds_while_the_model_is_silent() -> None:
    """A model that never writes is given up, and the asker is told."""
    answered, _ = await ask(SilentModel(), deadline_s=0.05)
    assert answered.status == "failed"
    assert "too long" in answered.text
    assert answered.timings_ms["total"] < 2_000


async def test_the_deadline_holds_while_the_library_is_silent() -> None:
    """The same for the search."""

    class Stuck(Library):
        async def find(self, asked: Question) -> Found:
            await asyncio.Event().wait()
            raise AssertionError

    answered, _ = await ask(WrittenModel("x"), Stuck(), deadline_s=0.05)
    assert answered.status == "failed"
    assert "documents" in answered.text


async def test_what_the_reply_raises_is_for_the_worker() -> None:
    """If Slack cannot be told, the question is not counted as answered."""

    class Deaf(SeenReply):
        async def say(self, sentence: str, citations: Sequence[Citation]) -> None:
            raise SlackUnavailable("500")

    model, reply = WrittenModel("Select Regenerate [1]. More."), Deaf()
    with pytest.raises(SlackUnavailable):
        await answer(question(), find=Library().find, voice=Voice(model), persona=PERSONA, reply=reply)
    assert not reply.finished
    assert model.is_closed


async def test_a_question_that_is_taken_away_is_not_finished() -> None:
    """When the worker stops, the cancelled answer is left for the one who takes over."""
    reply = SeenReply()
    task = asyncio.create_task(
        answer(question(), find=Library().find, voice=Voice(SilentModel()), persona=PERSONA, reply=reply)
    )
    await reply.has_status.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not reply.finished


async def test_a_model_that_does_not_stop_is_stopped() -> None:
    """No more is said than fits into one block, and it says that it stopped."""
    facts = " ".join(f"Fact {number} is that gadget{number} weighs {number} grams." for number in range(400))
    passage = KEYS.model_copy(update={"text": facts})
    written = " ".join(f"Fact {number} is that gadget{number} weighs {number} grams [1]." for number in range(400))
    answered, _ = await ask(WrittenModel(written, size=50), Library(found(passage)))
    assert len(answered.text) < LONGEST_ANSWER + 100
    assert answered.text.endswith("I had to stop here, so this may not be all of it.")


async def test_a_model_that_repeats_itself_is_heard_once() -> None:
    """Small models loop; a sentence is said once."""
    answered, _ = await ask(WrittenModel("Select Regenerate [1]. " * 40))
    assert answered.text == "Select Regenerate [1]."


async def test_the_model_is_given_passages_query_and_history() -> None:
    """The prompt carries what a model, or the quoting one, needs."""
    model = WrittenModel("Select Regenerate [1].")
    turn = Turn(role="user", text="I lost my key")
    await ask(model, asked=question("and how do I reset it?", turn))
    (prompt,) = model.prompts
    assert prompt.passages == (KEYS, LIMITS)
    assert prompt.query == "q"
    assert {"role": "user", "content": "I lost my key"} in prompt.messages
    assert "Regenerate" in prompt.messages[-1]["content"]


async def test_what_stands_around_the_best_hit_is_cited_as_itself() -> None:
    """The model sees it after the hits, with a number of its own; the quote is that passage's, word for word, and it is
    a part of what the answer keeps."""
    library = Library(found(KEYS, LIMITS).model_copy(update={"around": (MORE_KEYS,), "rewrite_ms": 7.0}))
    model = WrittenModel("Select Regenerate [1]. Deleting a key is final [3].")
    answered, _ = await ask(model, library)
    assert model.prompts[0].passages == (KEYS, LIMITS, MORE_KEYS)
    assert answered.text == "Select Regenerate [1]. Deleting a key is final [2]."
    assert answered.citations[1].quote == MORE_KEYS.text
    assert set(answered.passages) == {KEYS, LIMITS, MORE_KEYS}
    assert answered.timings_ms["rewrite"] == 7.0


async def test_timings_say_where_the_time_went() -> None:
    """Every stage of an answered question is there, and the whole is no less than its parts."""
    answered, _ = await ask(WrittenModel("Select Regenerate [1]."))
    timings = answered.timings_ms
    assert set(timings) == {"find", "embed", "search", "model_first_token", "model", "check", "total"}
    assert timings["total"] >= timings["find"] + timings["model"]


async def test_the_quoting_persona_answers_with_no_model_at_all() -> None:
    """With nothing configured the best sentences are quoted, checked like any other."""
    answered, _ = await ask(QuotingModel())
    assert answered.status == "answered"
    assert "select **Regenerate** [1]." in answered.text
    assert answered.model == "quoting"
