"""Promise 3 as a whole: whatever people, channels, groups and documents do, in whatever order, nobody is shown what is
not for them, and everybody is shown what is. Each version of each document holds a word that is nowhere else; what is
right is said by `tests/slack_world.py`, which knows nothing of the product."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from bot.answering import Voice, answer
from bot.model_quoting import QuotingModel
from bot.persona import load_persona
from bot.vocabulary import Answer, Asked, Citation, Question
from handlers import audience
from handlers.audience import Audience
from retrieval.index import Index, form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library
from tests.contracts.index_suite import WeaviateKind
from tests.hashing_embedder import HashingEmbedder
from tests.slack_world import Place, SlackOf, State, World
from tests.weaviate_server import SKIP_REASON, is_available, running

PEOPLE = ("U0ANN", "U0BEN", "U0CAT", "U0DAN", "U0EVA")
PLACES = ("C0OPEN", "C0OTHER", "C0CLOSED", "G0SOME")
GROUPS = ("S0ONCALL", "S0LEGAL")
AUDIENCES = ("public", "workspace", *(f"channel:{id}" for id in PLACES), *(f"group:{id}" for id in GROUPS))
TOPICS = {
    "vault": ("What opens the vault in the cellar?", "The vault in the cellar opens with the word {}."),
    "coffee": ("Who supplies coffee beans to our kitchen?", "Coffee beans for our kitchen are supplied by {}."),
    "hotline": ("How is the customer hotline called at night?", "At night the customer hotline is called {}."),
    "merger": ("Which company merges with us in spring?", "In spring the company that merges with us is {}."),
    "printer": ("Where does the colour printer stand?", "The colour printer stands in the room named {}."),
    "badge": ("Who replaces a lost badge on Sundays?", "On Sundays a lost badge is replaced by officer {}."),
}
PERSONA = load_persona()

person = st.sampled_from(PEOPLE)
place = st.sampled_from(PLACES)
topic = st.sampled_from(sorted(TOPICS))
pause = st.sampled_from((0.0, 20.0, 31.0, 59.0, 0.0, 20.0, 31.0, 59.0, 601.0))
team = st.sampled_from((0, 0, 0, 1))
FOR_WHOM = ("channel:C0CLOSED", None, "public", "group:S0LEGAL", "group:S0ONCALL", "channel:C0OPEN")


class Unseen:
    """A reply that nobody reads: what matters is the answer that is given back."""

    async def status(self, text: str) -> None: ...

    async def say(self, sentence: str, citations: Sequence[Citation]) -> None: ...

    async def finish(self, answer: Answer) -> None: ...


class Team:
    """A world, the bot's view of it, and the documents of its library as they ought to be."""

    def __init__(self) -> None:
        self.id = f"T{uuid4().hex[:12].upper()}"
        places = {
            "C0OPEN": Place("open", {"U0ANN", "U0BEN"}),
            "C0OTHER": Place("open", {"U0CAT"}),
            "C0CLOSED": Place("private", {"U0ANN", "U0DAN"}),
            "G0SOME": Place("group", {"U0BEN", "U0CAT"}),
        }
        roles = {"U0ANN": "member", "U0BEN": "member", "U0CAT": "member", "U0DAN": "guest", "U0EVA": "partner"}
        groups = {"S0ONCALL": {"U0ANN"}, "S0LEGAL": {"U0BEN", "U0CAT"}}
        self.world = World(self.id, State(roles, places, groups))  # type: ignore[arg-type]
        self.audience = Audience(SlackOf(self.world), self.id)  # type: ignore[arg-type]
        self.documents = {about: (for_whom, _canary()) for about, for_whom in zip(TOPICS, FOR_WHOM, strict=True)}
        """By topic: who may read it, None for what its source says, and its canary."""
        self.common = "workspace"
        """The audience of the source."""

    def write(self, folder: Path) -> Path:
        """Writes a file of what the documents are now."""
        lines = [json.dumps({"id": "imprint", "title": "Imprint", "text": "This handbook has an imprint."})]
        for topic, (audience_, canary) in self.documents.items():
            record = {"id": topic, "title": topic, "text": TOPICS[topic][1].format(canary)}
            lines.append(json.dumps(record | ({"audience": audience_} if audience_ else {})))
        file = folder / f"{self.id}.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return file

    def canaries(self, rule: Callable[[str], bool]) -> set[str]:
        """The canaries of the documents whose audience a rule holds for."""
        return {canary for audience_, canary in self.documents.values() if rule(audience_ or self.common)}


class Comings(RuleBasedStateMachine):
    """What people do in two teams, and what the bot then takes a place's readers to be."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(audience, "time", self)
        self.now_s = 1_000.0
        self.teams = [Team(), Team()]

    def monotonic(self) -> float:
        """The clock that the bot sees."""
        return self.now_s

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()
            self.patch.undo()

    # What people do

    @rule(seconds=pause)
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        for one in self.teams:
            one.world.at_s += seconds

    @rule(n=team, who=person, where=place)
    def join(self, n: int, who: str, where: str) -> None:
        """A partner gets only into what is shared with the partner."""
        now = self.teams[n].world.now
        if now.roles[who] != "partner" or now.places[where].is_shared:
            now.places[where].members.add(who)
            self.teams[n].world.changed()

    @rule(n=team, who=person, where=place)
    def leave(self, n: int, who: str, where: str) -> None:
        self.teams[n].world.now.places[where].members.discard(who)
        self.teams[n].world.changed()

    @rule(n=team, where=st.sampled_from(("C0OPEN", "C0OTHER", "C0CLOSED")), kind=st.sampled_from(("open", "private")))
    def convert(self, n: int, where: str, kind: Any) -> None:
        self.teams[n].world.now.places[where].kind = kind
        self.teams[n].world.changed()

    @rule(n=team, where=place, is_shared=st.booleans())
    def share(self, n: int, where: str, is_shared: bool) -> None:
        """With another organisation, or with it no longer: then its people are out."""
        now = self.teams[n].world.now
        now.places[where].is_shared = is_shared
        if not is_shared:
            now.places[where].members -= {who for who, role in now.roles.items() if role == "partner"}
        self.teams[n].world.changed()

    @rule(n=team, where=st.sampled_from(("C0CLOSED", "G0SOME")), knows_bot=st.booleans())
    def invite_bot(self, n: int, where: str, knows_bot: bool) -> None:
        self.teams[n].world.now.places[where].knows_bot = knows_bot
        self.teams[n].world.changed()

    @rule(n=team, who=st.sampled_from(PEOPLE[:4]), is_guest=st.booleans())
    def make_guest(self, n: int, who: str, is_guest: bool) -> None:
        self.teams[n].world.now.roles[who] = "guest" if is_guest else "member"
        self.teams[n].world.changed()

    @rule(n=team, group=st.sampled_from(GROUPS), who=st.sets(person))
    def change_group(self, n: int, group: str, who: set[str]) -> None:
        self.teams[n].world.now.groups[group] = set(who)
        self.teams[n].world.changed()

    # Whom the bot thinks it talks to

    @rule(n=team, looks=st.lists(st.tuples(pause, person | place), min_size=1, max_size=8))
    def look_at(self, n: int, looks: list[tuple[float, str]]) -> None:
        """One after the other, each after a pause: what was looked up for one may be remembered for the next."""
        world, readers = self.teams[n].world, self.teams[n].audience
        for after_s, who in looks:
            self.wait(after_s)
            is_person = who.startswith("U")
            labels = self.runner.run(readers.of_person(who) if is_person else readers.of_channel(who)).labels
            may, must = (
                (world.may_be_told, world.must_be_told) if is_person else (world.may_be_shown, world.must_be_shown)
            )
            for one in AUDIENCES:
                assert one not in labels or may(who, one), f"{who} would be told what is for {one}"
                assert one in labels or not must(who, one), f"{who} would not be told what is for {one}"


class PromiseThree(Comings):
    """And what they are then shown, of two libraries on one index. `open_index` is what a test sets."""

    open_index: Callable[[Path], Index]

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.temporary = tempfile.TemporaryDirectory()
        self.folder, self.said = Path(self.temporary.name), set[str]()
        embedder = HashingEmbedder()
        form = form_of(embedder.id, "test")
        self.library = Library(type(self).open_index(self.folder), embedder, form, threshold=0.0, model="hashing")
        for n in range(len(self.teams)):
            self.sync(n)

    def teardown(self) -> None:
        if hasattr(self, "library"):
            self.runner.run(self.library.close())
            self.temporary.cleanup()
        super().teardown()

    def sync(self, n: int) -> None:
        """Lets the library read what the documents are now."""
        team = self.teams[n]
        file = team.write(self.folder)
        report = self.runner.run(self.library.ingest(team.id, file, name="docs", audience=team.common))
        assert report.failed == (), report.failed

    # What happens to documents

    @rule(n=team, about=topic, for_whom=st.sampled_from((None, *AUDIENCES)))
    def ingest(self, n: int, about: str, for_whom: str | None) -> None:
        """New, or in new words."""
        self.teams[n].documents[about] = (for_whom, _canary())
        self.sync(n)

    @rule(n=team, about=topic, for_whom=st.sampled_from((None, *AUDIENCES)))
    def change_audience(self, n: int, about: str, for_whom: str | None) -> None:
        """In the same words."""
        if about in self.teams[n].documents:
            self.teams[n].documents[about] = (for_whom, self.teams[n].documents[about][1])
            self.sync(n)

    @rule(n=team, for_whom=st.sampled_from(AUDIENCES))
    def change_source(self, n: int, for_whom: str) -> None:
        """For all documents that do not say it themselves."""
        self.teams[n].common = for_whom
        self.sync(n)

    @rule(n=team, about=topic)
    def remove(self, n: int, about: str) -> None:
        if self.teams[n].documents.pop(about, None):
            self.sync(n)

    # What people ask

    @rule(n=team, about=topic, who=person, where=place, kind=st.sampled_from(("mention", "command")))
    def ask_in_channel(self, n: int, about: str, who: str, where: str, kind: str) -> None:
        """By a mention, or for the asker's eyes only: what a channel is told is the same."""
        world = self.teams[n].world
        may = self.teams[n].canaries(lambda whom: world.may_be_shown(where, whom))
        must = self.teams[n].canaries(lambda whom: world.must_be_shown(where, whom))
        self._ask(n, about, who, where, kind, may, must)

    @rule(n=team, about=topic, who=person, kind=st.sampled_from(("direct", "command")))
    def ask_directly(self, n: int, about: str, who: str, kind: str) -> None:
        world = self.teams[n].world
        may = self.teams[n].canaries(lambda whom: world.may_be_told(who, whom))
        must = self.teams[n].canaries(lambda whom: world.must_be_told(who, whom))
        self._ask(n, about, who, f"D0{who}", kind, may, must)

    def _ask(self, n: int, about: str, who: str, where: str, kind: str, may: set[str], must: set[str]) -> None:
        team = self.teams[n]
        assert must <= may, "the model of truth contradicts itself"
        given = {"id": f"{team.id}:{where}:1", "kind": kind, "team_id": team.id, "channel_id": where, "ts": "1"}
        asked = Asked.model_validate(
            given | {"thread_ts": "1", "user_id": who, "user_team_id": team.id, "text": TOPICS[about][0]}
        )
        shown, said = self.runner.run(self._answered(team, asked))
        found = {one for one in self._every_canary() if one in shown or one in said}
        assert found <= may, f"{found - may} is shown to {who} at {where} ({kind})"
        missing = {one for one in must if one not in shown}
        assert not missing, f"{missing} is kept from {who} at {where} ({kind})"
        canary = team.documents.get(about, (None, ""))[1]
        assert canary not in must or canary in said, f"{canary} is not said to {who} at {where} ({kind})"

    async def _answered(self, team: Team, asked: Asked) -> tuple[str, str]:
        """Everything that is found, and everything that an answer holds."""
        readers = await team.audience.of(asked)
        question = Question(id=asked.id, team_id=team.id, text=asked.text, readable=readers.labels)
        found = await self.library.find(question, k=len(TOPICS) + 4)  # more than there are
        answered = await answer(
            question, find=self.library.find, voice=Voice(QuotingModel()), persona=PERSONA, reply=Unseen()
        )
        return found.model_dump_json(), answered.model_dump_json()

    def _every_canary(self) -> set[str]:
        """Of all teams and times: what was removed or reworded is not to be seen either."""
        self.said |= {canary for one in self.teams for _, canary in one.documents.values()}
        return self.said


def _canary() -> str:
    return f"Canary{uuid4().hex[:10]}"


def run_machine(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Lets a machine try so many ways of things to go."""
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=how)


def over(open_index: Callable[[Path], Index]) -> type[RuleBasedStateMachine]:
    """The machine over an index."""
    return type("PromiseThree", (PromiseThree,), {"open_index": staticmethod(open_index)})


def embedded(folder: Path) -> Index:
    embedder = HashingEmbedder()
    return EmbeddedIndex(folder / "library", form_of(embedder.id, "test"), embedder.dimensions, 0.7)


def test_the_readers_of_a_place_are_who_can_read_it_within_a_minute() -> None:
    """Not more than may be remembered, whatever was asked before, and by whom."""
    run_machine(Comings, examples=50, steps=30)


def test_nobody_is_shown_what_is_not_for_them_and_everybody_what_is() -> None:
    """Over the embedded index, a few ways of things to go."""
    run_machine(over(embedded), examples=15, steps=25)


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
def test_nobody_is_shown_what_is_not_for_them_in_many_ways_of_things_to_go() -> None:
    """Over the embedded index."""
    run_machine(Comings, examples=2_000, steps=60)
    run_machine(over(embedded), examples=200, steps=60)


@pytest.mark.weaviate
@pytest.mark.skipif(not is_available(), reason=SKIP_REASON)
def test_nobody_is_shown_what_is_not_for_them_on_weaviate(tmp_path: Path) -> None:
    """Over a real server, fewer of them."""
    with running(tmp_path) as server:
        kind, embedder = WeaviateKind(server), HashingEmbedder()
        machine = over(lambda _: kind.new(form_of(embedder.id, "test"), embedder.dimensions, 0.7))
        run_machine(machine, examples=3, steps=15)
