"""What keeps an example from being trained on, said in sentences. A model that is tuned on facts which its passages do
not hold learns to invent, so every sentence is held against the passages that are stored with the example, mark by
mark, with the checks that an answer goes through before it is said. This reads words, not meaning, and so it comes
before a person's review, not in place of one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bot.citing import claims_of, is_connecting, take_marks, with_marks
from bot.claims import Claims, stem
from bot.evidence import ENOUGH, Grounds, share
from bot.persona import UNCITED, Persona, format_problems
from bot.redacting import redact
from bot.sentences import Splitter, lead_and_body
from bot.vocabulary import Example, Passage

LONGEST_QUESTION = 4_000
LONGEST_EXAMPLE = 12_000
"""Characters of question, passages and answer: some 3,000 tokens of English, which with an answer fit into the 4,096
that the tuner of one's own serves."""
_SHOWN = 80


@dataclass(frozen=True)
class Marked:
    """An answer whose sentences carry the marks that hold; those in `unsupported` carry none."""

    text: str
    unsupported: tuple[str, ...]
    numbers: frozenset[int]
    """Of the marks."""


@dataclass(frozen=True)
class _Sentence:
    lead: str
    text: str
    """Without its marks."""
    numbers: list[int]
    claims: Claims


def problems(example: Example, persona: Persona) -> list[str]:
    """Says why an example cannot be trained on, each reason a sentence; nothing when it can. Whether it is approved,
    may be read by everyone, or comes from a model whose words may be trained on is not asked here."""
    answer = example.answer.strip()
    found = [*_size_problems(example)]
    if found or not answer:
        return found or ["It has no answer."]
    if answer != persona.refusal:
        found += fact_problems(example, persona) if example.passages else ["It has no passages that its facts rest on."]
    is_told = any("” cites nothing" in one for one in found)
    for problem in format_problems(answer, persona):
        if not (is_told and problem.startswith(UNCITED)):
            found.append(f"The answer leaves the format: {problem}.")
    return [*found, *_language_problems(example), *_privacy_problems(example)]


def unsupported(text: str, passages: Sequence[Passage]) -> list[str]:
    """Gives the sentences of a text whose facts none of the passages holds."""
    grounds = Grounds(passages)
    return [one.text for one in _sentences(text) if _is_fact(one) and not grounds.supporting(one.claims, one.numbers)]


def without_marks(text: str) -> str:
    """Gives an answer as it would be without citations."""
    return "".join(one.lead + one.text for one in _sentences(text))


def marked(text: str, passages: Sequence[Passage], persona: Persona) -> Marked:
    """Puts the marks on a text that hold: those it has, as far as they do, else those of the passages that support the
    sentence. Marks that do not hold are taken away, and the sentences that then have none are named."""
    grounds = Grounds(passages)
    pieces = [persona.opening] if text.lstrip().startswith(persona.opening) else []
    left: list[str] = []
    numbers: set[int] = set()
    for one in _sentences(text, persona):
        held = [] if one.text == persona.refusal else grounds.supporting(one.claims, one.numbers)
        marks = [index + 1 for index, _ in held]
        pieces.append(one.lead + (with_marks(one.text, marks) if marks else one.text))
        if not held and _is_fact(one) and one.text != persona.refusal:
            left.append(one.text)
        numbers |= {index + 1 for index, _ in held}
    return Marked("".join(pieces).strip(), tuple(left), frozenset(numbers))


def fact_problems(example: Example, persona: Persona) -> Iterator[str]:
    """Yields why the answer is not held by the passages that its marks name, a reason for each sentence."""
    grounds = Grounds(example.passages)
    for one in _sentences(example.answer, persona):
        shown = f"“{one.text}”" if len(one.text) <= _SHOWN else f"“{one.text[:_SHOWN]}…”"
        if one.text == persona.refusal or not _is_fact(one):
            continue
        if wrong := [number for number in one.numbers if not 0 < number <= len(example.passages)]:
            yield f"{shown} cites [{wrong[0]}], and there is no such passage."
            continue
        held = {index + 1 for index, _ in grounds.held(one.claims, one.numbers)}
        if not held:
            yield f"{shown} {_why(one, grounds)}."
        elif idle := sorted(set(one.numbers) - held):
            yield f"{shown} cites [{idle[0]}], which does not support it."


def _why(one: _Sentence, grounds: Grounds) -> str:
    """Why no passage that a sentence cites supports it."""
    if not one.numbers:
        return "cites nothing" if grounds.supporting(one.claims, ()) else "cites nothing, and no passage holds it"
    cited = [grounds.evidence[number - 1] for number in one.numbers]
    cites = "".join(f"[{number}]" for number in one.numbers)
    if missing := set.intersection(*(each.lacks(one.claims) for each in cited)):
        names = ", ".join(sorted(_as_written(each, one.text) for each in missing)[:5])
        return f"says what {cites} does not: {names}"
    if share(cited, one.claims) < ENOUGH:
        return f"has little to do with {cites}"
    return f"says otherwise than {cites}"


def _as_written(claim: str, text: str) -> str:
    """Gives a claim as the sentence has it, where the claim is a stem."""
    return next((word for word in re.findall(r"\w+", text) if stem(word.lower()) == claim), claim.strip())


def _sentences(text: str, persona: Persona | None = None) -> Iterator[_Sentence]:
    """The sentences of an answer, without its opening, each with what it claims and the marks it carries."""
    splitter = Splitter()
    rest = text.lstrip().removeprefix(persona.opening) if persona else text
    for piece in (*splitter.feed(rest), *splitter.flush()):
        lead, body = lead_and_body(piece)
        numbers, body = take_marks(body)
        bare = re.sub(r"[ \t]+([.,;:!?…])(?=\s|$)", r"\1", body).strip()
        if bare:
            yield _Sentence(lead, bare, list(dict.fromkeys(numbers)), claims_of(bare))


def _is_fact(one: _Sentence) -> bool:
    return bool(one.numbers) or not (one.claims.is_empty or is_connecting(one.text))


def _size_problems(example: Example) -> Iterator[str]:
    whole = len(example.question) + len(example.answer) + sum(len(passage.text) for passage in example.passages)
    if not example.question.strip():
        yield "It has no question."
    if len(example.question) > LONGEST_QUESTION:
        yield f"Its question has {len(example.question):,} characters, more than {LONGEST_QUESTION:,}."
    if whole > LONGEST_EXAMPLE:
        yield f"It has {whole:,} characters with its passages, more than {LONGEST_EXAMPLE:,}."


def _privacy_problems(example: Example) -> Iterator[str]:
    parts = {"question": example.question, "answer": example.answer}
    parts |= {f"passage [{number}]": one.text for number, one in enumerate(example.passages, 1)}
    for name, text in parts.items():
        if redact(text) != text:
            yield f"Its {name} holds a secret or personal data."


# Language

_COMMON = {
    language: frozenset(words.split())
    for language, words in {
        "English": "the and is are you your to of in for with can not this that it on how what when where do does if",
        "German": "der die das und ist sind sie ihr zu von für mit nicht den dem ein eine auf wie was wenn wo kann im",
        "French": "le la les et est sont vous votre de des du pour avec pas une un dans comment que quand où sur au ce",
        "Spanish": "el la los las y es son usted su de del para con no una un en cómo qué cuando dónde por se al",
        "Italian": "il la gli e è sono lei di del per con non una un in come che quando dove si al da della nel",
        "Portuguese": "o a os as e é são você seu de do da para com não uma um em como que quando onde no na ao",
        "Dutch": "de het een en is zijn u uw van voor met niet in op hoe wat wanneer waar dat die je naar te kan",
    }.items()
}
_SCRIPTS = {
    "Russian": re.compile(r"[\u0400-\u04ff]"),
    "Greek": re.compile(r"[\u0370-\u03ff]"),
    "Arabic": re.compile(r"[\u0600-\u06ff]"),
    "Hebrew": re.compile(r"[\u0590-\u05ff]"),
    "Hindi": re.compile(r"[\u0900-\u097f]"),
    "Japanese": re.compile(r"[\u3040-\u30ff]"),
    "Korean": re.compile(r"[\uac00-\ud7af]"),
    "Chinese": re.compile(r"[\u4e00-\u9fff]"),
}


def _language_problems(example: Example) -> Iterator[str]:
    """An answer in the language of neither its question nor its passages; a few words say nothing of a language."""
    answer = language(example.answer)
    others = {language(example.question), language("\n".join(passage.text for passage in example.passages))}
    if answer and None not in others and answer not in others:
        yield f"It is answered in {answer}, which is the language of neither its question nor its passages."


@lru_cache(maxsize=2_000)
def language(text: str) -> str | None:
    """Names the language of a text by its script or its commonest words, or None when they do not tell."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", " ", text, flags=re.DOTALL)
    letters = sum(sign.isalpha() for sign in prose)
    for name, script in _SCRIPTS.items():
        if len(script.findall(prose)) * 3 > letters:
            return name
    words = re.findall(r"[^\W\d_]+", prose.lower())
    counts = sorted(((sum(word in common for word in words), name) for name, common in _COMMON.items()), reverse=True)
    (most, name), (second, _) = counts[:2]
    return name if most >= 3 and most > second * 1.5 else None
