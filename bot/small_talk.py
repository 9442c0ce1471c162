"""Tells a message that is no question from one that is. A greeting, a thank-you and a bare "it does not work" need no
search: they get a friendly line at once, and nothing is cited for them."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["empty", "greeting", "thanks", "vague"]

_LONGEST = 12
"""Words above which a message is taken for a question whatever its words are."""

_GREETING = re.compile(
    r"""\b(?:hi|hello|hey+|hiya|howdy|yo|greetings|good\s+(?:morning|afternoon|evening|day)|hallo|moin|servus|guten\s+(?:
    tag|morgen|abend)|bonjour|salut|hola|ciao|what'?s\s+up|how\s+are\s+you(?:\s+(?:doing|today))?)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_THANKS = re.compile(
    r"""\b(?:thanks?(?:\s+you)?(?:\s+(?:so|very)\s+much|\s+a\s+(?:lot|bunch|million))?|thx|ty|tysm|cheers|many\s+thanks
    |much\s+appreciated|appreciate\s+it|danke(?:\s+sch(?:ö|oe)n)?|vielen\s+dank|merci|gracias|grazie|obrigad[oa]
    |(?:that|this|it)\s+(?:did\s+(?:it|the\s+trick)|works?(?:\s+now)?|worked|helps?|helped|fixed\s+it|solved\s+it|was\s+it)
    |(?:works?|worked|fixed|solved|got\s+it|makes\s+sense|perfect|awesome|great|brilliant|excellent|amazing|lovely
    |wonderful|cool|nice|super|well\s+done|good\s+(?:bot|job)|you(?:'re|\s+are)\s+(?:the\s+best|great|awesome)))\b""",
    re.IGNORECASE | re.VERBOSE,
)
_VAGUE = re.compile(
    r"""\b(?:(?:it|this|that|something|nothing|everything)(?:'?s|\s+is|\s+does|\s+doesn'?t|\s+isn'?t|\s+won'?t)?
    |(?:is|are|does|do)\s*n[o']?t|not|work(?:s|ing)?|broken?|down|fail(?:s|ed|ing)?|again|still|help|issue|problem|error
    |wrong|went|have|having|got|need|can|you|someone|somebody|anyone|any|some|one|me|us|i|we|a|an|the|is|with|there|here
    |question|pls|plz|please|urgent(?:ly)?|asap|quick(?:ly)?|stuck)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_FILLER = re.compile(
    r"""\b(?:there|all|team|everyone|folks|guys|bot|footnote|again|now|ok(?:ay)?|so|much|very|really|that|it|is|was|oh|ah
    |yes|yep|yeah|no|and|for|the|your|you|help|ihr|dir|euch|man|mate|sir|friend|buddy|bye|goodbye|see\s+you|have\s+a
    |good|day|one|weekend|just|what|i|needed)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_WORD = re.compile(r"[^\W_]")


def small_talk(text: str, *, has_history: bool) -> Kind | None:
    """Says what kind of small talk a message is, or None when it is to be searched.

    A vague complaint counts only without a conversation before it, which may say what it is about.
    """
    text = re.sub(r":[a-z0-9_+-]+:", " ", text.replace("’", "'"))
    if not _WORD.search(text):
        return "empty"
    if len(text.split()) > _LONGEST:
        return None
    for kind, pattern in (("thanks", _THANKS), ("greeting", _GREETING)):
        rest, count = pattern.subn(" ", text)
        if count and not _WORD.search(_FILLER.sub(" ", _THANKS.sub(" ", _GREETING.sub(" ", rest)))):
            return "thanks" if kind == "thanks" else "greeting"
    if not has_history and not _WORD.search(_VAGUE.sub(" ", _GREETING.sub(" ", text))):
        return "vague"
    return None
