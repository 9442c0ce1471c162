"""What a question asks for, by rule: the words to look for, the identifiers in it that count letter by letter, and the
standalone query of a follow-up that cannot be understood without the thread before it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bot.vocabulary import Turn

MOST_WORDS = 64
"""Different words of a question that are looked for; a pasted log would search for minutes."""
LEANING = 0.5
"""How far the direction to search in leans towards the thread, for a question of few words. On 66 follow-ups it brings
the right page among the first five for 93 instead of 88 of 100; anything from 0.3 to 0.6 does about the same."""
_FEW_WORDS = 4
_BESIDE_A_NAME = 3
"""Words of a question that is about a code or a setting's name, beside it: "what does the error … mean"."""
_MOST_OF_A_TURN = 800
"""Characters of a turn that say what a thread is about."""
_WORD = re.compile(r"[^\W_]+(?:[._/@:-]+[^\W_]+)*")
_IDENTIFIER = re.compile(
    r"""(?<![\w./-])(?:
        [A-Z]{1,10}[-_]?\d{2,12}(?:-\d{1,12}){0,3}               # ERR-4021, E1234, CVE-2026-1234
      | [A-Za-z][A-Za-z0-9]{0,40}(?:_[A-Za-z0-9]{1,40}){1,10}  # max_batch_size, FOOTNOTE_HOME
      | [a-z]{2,30}(?:[A-Z][a-z0-9]{1,30}){1,8}                # maxRetries
      | [a-z]{1,40}(?:\.[a-z]{1,30}[A-Z][A-Za-z]{0,40})        # chat.postMessage
      | --[a-z][a-z0-9-]{2,40}                                 # --base-url
    )(?![\w-])""",
    re.VERBOSE,
)
_CODE = re.compile(r"(?<![\w./-])[A-Za-z]{1,10}[-_]?\d{2,12}(?:[-_]\d{1,12}){0,3}(?![\w-])")
"""A code as people type it: E1042 and err4021 for E-1042 and ERR-4021."""
_STOP = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
})  # fmt: skip
"""Weaviate's English stop words, so that both indexes look for the same words."""

_EMPTY = frozenset({
    "about", "am", "can", "could", "did", "do", "does", "get", "give", "has", "have", "how", "know", "me", "my", "need",
    "our", "please", "tell", "use", "want", "we", "what", "when", "where", "which", "who", "why", "would", "you",
    "your",
})  # fmt: skip
"""Words that say nothing of what a question is about."""
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|those|these|that|this|he|she|him|her|ones?|same|instead|else)\b", re.IGNORECASE
)
_CARRIES_ON = re.compile(
    r"\W*(?:(?:ok|okay|thanks|great|btw|by the way|oh|hm+)\W+){0,3}"
    r"(?:and|but|or|so|also|then|what about|how about|why|otherwise)\b",
    re.IGNORECASE,
)


def words(text: str) -> list[str]:
    """Gives the different words to look for, in order; a compound such as `ERR-4021` is one."""
    found = dict.fromkeys(word.lower() for word in _WORD.findall(text))
    return [word for word in found if word not in _STOP][:MOST_WORDS]


def identifiers(text: str) -> tuple[str, ...]:
    """Gives the error codes, settings and flags that a text names, as written."""
    return tuple(dict.fromkeys(_IDENTIFIER.findall(text)))


def holds(text: str, identifier: str) -> bool:
    """Whether a text holds an identifier verbatim, not as a part of a longer one."""
    return re.search(rf"(?<![\w-]){re.escape(identifier)}(?![\w-]|\.\w)", text) is not None


def codes(text: str) -> list[str]:
    """Gives what may be error codes in a text, however they are typed."""
    return list(dict.fromkeys(_CODE.findall(text)))


def words_of_codes(typed: Iterable[str]) -> str:
    """Gives the words by which an index knows codes, with hyphens and without: E-1042 is 1042 to it, E1042 is one."""
    return " ".join(word for code in typed for word in (*re.findall(r"\d{2,}", code), _bare(code)))


def with_codes_of(text: str, pages: str) -> str:
    """Gives a text with its codes as pages write them: where none holds one as it was typed, but one that is the same
    apart from hyphens and capitals."""
    written: dict[str, str] = {}
    for code in identifiers(pages):
        written.setdefault(_bare(code), code)
    return _CODE.sub(lambda typed: typed[0] if holds(pages, typed[0]) else written.get(_bare(typed[0]), typed[0]), text)


def is_about(text: str, asked: Sequence[str]) -> bool:
    """Whether a question is about the codes and names in it, rather than naming one by the way."""
    rest = text
    for identifier in asked:
        rest = rest.replace(identifier, " ")
    return bool(asked) and len(telling_words(rest)) <= _BESIDE_A_NAME


def needs_its_thread(question: str, history: Sequence[Turn]) -> bool:
    """Whether a question only makes sense as a follow-up to what its asker said before."""
    return _said_before(history) is not None and _is_elliptic(question)


def standalone(question: str, history: Sequence[Turn]) -> str:
    """Gives a question that can be searched without its thread: as it is, or, when it only makes sense as a follow-up,
    after what its asker said last. (Before every question the thread does more harm than good.)"""
    return f"{_said_before(history)}\n{question}" if needs_its_thread(question, history) else question


def thread_before(history: Sequence[Turn]) -> list[str]:
    """Gives what tells the direction of a thread: what its asker and the bot said last."""
    last = {turn.role: turn.text.strip()[:_MOST_OF_A_TURN] for turn in history if turn.text.strip()}
    return [last[role] for role in ("user", "assistant") if role in last]


def leaning(question: str) -> float:
    """Gives how far a question leans towards its thread, from 0 to `LEANING`: the more it says itself the less, for
    people change the subject in the middle of a thread."""
    return LEANING * min(1.0, _FEW_WORDS / max(1, len(telling_words(question))))


def telling_words(question: str) -> list[str]:
    """Gives the words that say what a question is about, in order, with repetitions."""
    return [word for word in re.findall(r"\w{2,}", question.lower()) if word not in _STOP | _EMPTY]


def _bare(code: str) -> str:
    return re.sub("[-_]", "", code).lower()


def _said_before(history: Sequence[Turn]) -> str | None:
    return next((turn.text.strip() for turn in reversed(history) if turn.role == "user" and turn.text.strip()), None)


def _is_elliptic(question: str) -> bool:
    """Whether a question leans on what was said before: it is short and points back, or says next to nothing itself."""
    said = len(telling_words(question))
    points_back = _POINTS_BACK.search(question) is not None and said <= 4
    carries_on = _CARRIES_ON.match(question) is not None and said <= 5
    return points_back or carries_on or said <= 1
