"""What a sentence claims: its words, numbers with units, dates, names and identifiers, and what it denies. The same
reading is applied to what a model wrote and to the passage it cites, so that "10 MB" and "10MB", "1,000" and "1000",
"5 November 2026" and "2026-11-05" are the same claim, while "10 MB" and "10 minutes", "is" and "is not" are two."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


STOP = _set(
    """a about after all also am an and any are as at be because been before being but by can could did do does
    doing done during each either else etc for from further get gets getting got had has have having he her here
    hers him his how i if in into is it its itself just let lets like may me might more most much must my no nor
    not now of off on once one only onto or other our out over own per please same shall she should since so
    some such than that the their them then there these they this those through thus to too under until up upon
    us very via was we were what when where whether which while who whom whose why will with within without
    would yes yet you your yours aber als am an auch auf aus bei bin bis da das dass dem den der des die dies
    dir du durch ein eine einem einen einer er es für hat ich ihr im in ist ja kann kein keine man mein mit nach
    nicht noch nur oder sein sich sie sind so um und uns von vor was wenn wer wie wir wird wo zu zum zur über"""
)
_NEGATIONS = _set("not never cannot no without none nor neither nobody nothing nicht kein keine nie ohne")
_CARRIED_OVER = _set("longer yet")
_COUNTING = _set("the these those following main all")
_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        re.split(
            r"\s+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty",
        )
    )
} | {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "ninety": "90", "hundred": "100"}
_UNITS = {
    name: unit
    for unit, names in {
        "B": "b byte bytes",
        "KB": "kb kib kilobyte kilobytes",
        "MB": "mb mib megabyte megabytes",
        "GB": "gb gib gigabyte gigabytes",
        "TB": "tb tib terabyte terabytes",
        "%": "% percent pct prozent",
        "ms": "ms millisecond milliseconds",
        "s": "s sec secs second seconds sekunde sekunden",
        "min": "min mins minute minutes minuten",
        "h": "h hr hrs hour hours stunde stunden",
        "day": "d day days tag tage tagen",
        "week": "w week weeks woche wochen",
        "month": "month months mo monat monate monaten",
        "year": "y yr year years jahr jahre jahren",
        "$": "$ usd dollar dollars",
        "€": "€ eur euro euros",
        "£": "£ gbp pound pounds",
        "cent": "ct cent cents",
        "px": "px pixel pixels",
    }.items()
    for name in names.split()
}
_BEFORE_A_UNIT = _set("business working calendar full consecutive whole us")
_MONTHS = {
    name: f"{number:02}"
    for number, names in enumerate(
        re.split(
            r"\|",
            "january jan|february feb|march mar|april apr|may|june jun|july jul|august aug|september sep sept|"
            "october oct|november nov|december dec",
        ),
        start=1,
    )
    for name in names.split()
}
_OPPOSITES = [
    frozenset(pair.split("/"))
    for pair in _set(
        """enable/disable enabled/disabled allow/deny allow/forbid allow/block allowed/blocked include/exclude
    increase/decrease minimum/maximum before/after above/below start/stop free/paid public/private always/never
    accept/reject required/optional manual/automatic manually/automatically reversible/irreversible on/off
    possible/impossible more/less first/last add/remove show/hide open/closed activate/deactivate lock/unlock
    subscribe/unsubscribe mute/unmute archive/unarchive"""
    )
]

_MONTHS_BEGIN = sorted({name[:3] for name in _MONTHS})
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATES = re.compile(
    rf"""\b(?P<iso>\d{{4}}-\d{{2}}-\d{{2}})\b
    |\b(?P<d1>\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?P<m1>{_MONTH})\b\.?(?:,?\s+(?P<y1>\d{{4}})\b)?
    |\b(?P<m2>{_MONTH})\b\.?\s+(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?\b(?!\s*[:%])(?:,?\s+(?P<y2>\d{{4}})\b)?""",
    re.IGNORECASE | re.VERBOSE,
)
_CODE = re.compile(r"`+([^`\n]+)`+")
_TOKEN = re.compile(r"[$€£]?[^\W_](?:[\w%]|(?<=\d),(?=\d{3})|[-./:@'’+#–](?=\w))*[%+#]?|_\w+|%")
_PLAIN_NUMBER = re.compile(r"(\d+(?:,\d{3})*|\d+)(\.\d+)?(?:st|nd|rd|th)?")
_WITH_UNIT = re.compile(r"([$€£]?)(\d[\d,]*(?:\.\d+)?)-?([A-Za-z%]*)")
_RANGE = re.compile(r"\d+(?:[.,]\d+)?(?:[-–/]\d+(?:[.,]\d+)?)+[A-Za-z%]*")
_DIGIT = re.compile(r"\d")
_TO_PARTS = re.compile(r"[^\w]+")
_TO_SMALLEST_PARTS = re.compile(r"[\W_]+")
_TO_WORDS = re.compile(r"[-–/.:@+]")
_SENTENCE_START = re.compile(r"(?:\A|[.!?:…]\s+|[\n|>•]\s*|[-–—]\s+)[\"'“”‘’(*_\[]*$")


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Takes an English word's endings off, so that its forms compare equal: regenerate, regenerating, regeneration."""
    word = word.lower()
    for ending in ("'s", "’s", "'", "’"):
        word = word.removesuffix(ending)
    if len(word) > 3 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ation", "ition", "ing", "ion", "ment", "ed", "ly"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 2 and not word.endswith("eed") and any(letter in "aeiouy" for letter in rest):
            word = rest + ("at" if ending == "ation" else "it" if ending == "ition" else "")
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "aeiousl":
        word = word[:-1]
    if len(word) > 2 and word[-1] == "e":
        word = word[:-1]
    return word[:-1] + "i" if len(word) > 2 and word[-1] == "y" else word


@dataclass(slots=True)
class Claims:
    """The claims of a piece of text."""

    words: set[str] = field(default_factory=set)
    """Stems of the content words, names among them."""
    numbers: set[tuple[str, str]] = field(default_factory=set)
    """Number without grouping, and unit, `""` when there is none."""
    dates: set[str] = field(default_factory=set)
    """`YYYY-MM-DD`, or `MM-DD` without a year."""
    names: set[str] = field(default_factory=set)
    """Stems of capitalised words that do not begin a sentence."""
    identifiers: set[str] = field(default_factory=set)
    """Error codes, settings, paths, versions, acronyms; lower case."""
    phrases: set[str] = field(default_factory=set)
    """Code spans of several words, white space collapsed."""
    date_parts: set[str] = field(default_factory=set)
    """The numbers in those dates, so that "in 2026" is held by "on 5 November 2026"."""
    denied: set[str] = field(default_factory=set)
    """Stems of the words that a negation governs."""
    tokens: set[str] = field(default_factory=set)
    """Every token and its parts, in lower case: where identifiers are looked up."""

    @property
    def is_empty(self) -> bool:
        return not (self.words or self.numbers or self.dates or self.identifiers or self.phrases)


def read(text: str) -> Claims:
    """Reads the claims of a sentence or passage."""
    claims = Claims()
    if "`" in text:
        for code in _CODE.findall(text):
            (claims.phrases if re.search(r"\s", code.strip()) else claims.identifiers).add(_collapse(code))
        text = _CODE.sub(lambda code: " " + code[1] + " ", text)
    if _DIGIT.search(text) and _may_hold_a_date(text):
        text = _DATES.sub(lambda match: _date(match, claims), text)
    is_denied = False
    matches = list(_TOKEN.finditer(text))
    tokens = [_token(match[0]) for match in matches]
    for index, (match, token) in enumerate(zip(matches, tokens, strict=True)):
        claims.tokens.update(token.parts)
        if token.may_be_number:
            before = tokens[index - 1].lower if index else ""
            if token.lower in _NUMBER_WORDS and before in _COUNTING:
                continue  # "the two ways" counts what follows
            if _add_number(token.lower, [other.lower for other in tokens[index + 1 : index + 3]], claims):
                continue
        if token.is_negation:
            following = tokens[index + 1].lower if index + 1 < len(tokens) else ""
            is_denied = following not in ("", "only")
            if following == "only":
                claims.denied.add("only")
        elif token.is_empty or (token.lower in _UNITS and index and tokens[index - 1].has_digit):
            continue
        elif token.identifier:
            claims.identifiers.add(token.identifier)
            is_denied = False
        else:
            claims.words.update(token.roots)
            if is_denied and token.roots:
                claims.denied.add(token.roots[0])
                is_denied = False
            start = match.start()
            if match[0][0].isupper() and not _SENTENCE_START.search(text, max(0, start - 12), start):
                claims.names.update(token.roots)
    return claims


@dataclass(frozen=True, slots=True)
class _Token:
    """What can be said of a token without its neighbours."""

    lower: str
    parts: tuple[str, ...]
    roots: tuple[str, ...]
    identifier: str
    has_digit: bool
    may_be_number: bool
    is_negation: bool
    is_empty: bool


@lru_cache(maxsize=100_000)
def _token(token: str) -> _Token:
    lower = token.lower().replace("’", "'")
    parts = {lower, *_TO_PARTS.split(lower), *_TO_SMALLEST_PARTS.split(lower)} - {""}
    has_digit = any(sign.isdigit() for sign in token)
    identifier = ""
    if _is_identifier(token):
        identifier = lower.removesuffix("s") if token[:-1].isupper() and token.endswith("s") else lower
    return _Token(
        lower=lower,
        parts=(*parts, lower[:-1]) if lower.endswith("s") else tuple(parts),
        roots=tuple(stem(part) for part in _TO_WORDS.split(lower) if part and part not in STOP),
        identifier=identifier,
        has_digit=has_digit,
        may_be_number=has_digit or lower in _NUMBER_WORDS,
        is_negation=lower in _NEGATIONS or lower.endswith("n't"),
        is_empty=lower in STOP or lower in _CARRIED_OVER or len(lower) == 1,
    )


def opposed(one: Claims, other: Claims) -> bool:
    """Says whether `one` uses a word whose opposite `other` uses instead."""
    for pair in _OPPOSITES_STEMMED:
        mine, theirs = pair & one.words, pair & other.words
        if mine and theirs and not mine & theirs:
            return True
    return False


def _collapse(text: str) -> str:
    return " ".join(text.split()).lower()


def _may_hold_a_date(text: str) -> bool:
    """Whether to look for dates, which takes longer than all else; what is not ASCII may be a month's name, too."""
    if not text.isascii() or text.count("-") > 1:
        return True
    lower = text.lower()
    return any(month in lower for month in _MONTHS_BEGIN)


def _date(match: re.Match[str], claims: Claims) -> str:
    if match["iso"]:
        year, month, day = match["iso"].split("-")
    else:
        name = match["m1"] or match["m2"]
        if name[0].islower() or name.casefold() not in _MONTHS:
            return match[0]  # "it may 5 times …", "5 Aprıl"
        month, day, year = _MONTHS[name.casefold()], f"{int(match['d1'] or match['d2']):02}", match["y1"] or match["y2"]
        claims.words.add(stem(name))
    if not 1 <= int(day) <= 31:
        return match[0]
    claims.dates |= {f"{month}-{day}"} | ({f"{year}-{month}-{day}"} if year else set())
    claims.date_parts |= {_normal(part) for part in (year, month, day) if part}
    return "\0"


def _add_number(lower: str, following: list[str], claims: Claims) -> bool:
    unit = _unit(following)
    if lower in _NUMBER_WORDS:
        if lower == "one" and not unit:
            return False
        claims.numbers.add((_NUMBER_WORDS[lower], unit))
        return lower != "one"
    if _RANGE.fullmatch(lower):
        attached = _UNITS.get(lower.lstrip("0123456789.,-–/"), "") or unit
        claims.numbers.update((_normal(part), attached) for part in re.findall(r"\d+(?:[.,]\d+)?", lower))
        return True
    if _PLAIN_NUMBER.fullmatch(lower):
        claims.numbers.add((_normal(re.sub("[a-z]", "", lower)), unit))
        return True
    if (match := _WITH_UNIT.fullmatch(lower)) and (match[1] or match[3] in _UNITS):
        if match[3] and match[3] not in _UNITS:
            return False
        claims.numbers.add((_normal(match[2]), _UNITS.get(match[1] or match[3], "")))
        return True
    return False


def _unit(following: list[str]) -> str:
    if following and following[0] in _BEFORE_A_UNIT:
        following = following[1:]
    return _UNITS.get(following[0], "") if following else ""


def _normal(number: str) -> str:
    number = re.sub(r",(?=\d{3})", "", number).replace(",", ".")
    number = number.lstrip("0") or "0"
    return (number.rstrip("0").rstrip(".") if "." in number else number) or "0"


def _is_identifier(token: str) -> bool:
    letters = [letter for letter in token if letter.isalpha()]
    if any(letter.isdigit() for letter in token):
        return True
    if "_" in token or (re.search(r"\w[.:@#]\w", token) and not re.fullmatch(r"(?:\w\.)+\w?", token)):
        return True
    if re.search(r"[a-z][A-Z]", token):
        return True
    acronym = token[:-1] if token.endswith("s") else token
    return len(letters) > 1 and acronym.isupper() and acronym.isalpha()


_OPPOSITES_STEMMED = [frozenset(stem(word) for word in pair) for pair in _OPPOSITES]
