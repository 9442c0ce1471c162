"""Replaces secrets and personal data before anything is journalled, logged or learned from. Each becomes a typed
placeholder such as ⟨email 1⟩, the same for the same value within a text, so that a redacted text still reads and can
be learned from. It knows shapes, not meanings: a person's name in running text is not found. Redacting twice changes
nothing more, and no text, whatever it was made to do, takes more than time in proportion to its length: a repetition is
bounded, or cannot begin again inside what it has read, and no two that read the same stand side by side."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_PLACEHOLDER = re.compile(r"⟨([a-z][a-z ]{0,20}) (\d{1,6})⟩")
_MOST_PASSES = 8
"""A value that another hid is found in the next pass; real texts need two or three."""
_WITHHELD = "⟨text 1⟩"
_LEFT = r"(?<![A-Za-z0-9_])"
_RIGHT = r"(?![A-Za-z0-9_-])"


@dataclass(frozen=True, slots=True)
class _Shape:
    kind: str
    hints: tuple[str, ...]
    """In lower case; without one of them the pattern is not tried."""
    pattern: re.Pattern[str]
    """The group `value` is what is replaced; without it the whole match."""
    holds: Callable[[str], bool] = lambda value: True


def _shape(kind: str, hints: str, pattern: str, holds: Callable[[str], bool] | None = None, flags: int = 0) -> _Shape:
    return _Shape(kind, tuple(hints.split()), re.compile(pattern, flags), holds or (lambda value: True))


def _token(kind: str, hints: str, pattern: str) -> _Shape:
    return _shape(kind, hints, f"{_LEFT}(?:{pattern}){_RIGHT}")


def _is_card(digits: str) -> bool:
    """Luhn's check, on the lengths and beginnings that cards have."""
    digits = re.sub(r"\D", "", digits)
    if not re.fullmatch(
        r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"
        r"|(?:6011|65\d\d|64[4-9]\d|35\d\d|62\d\d)\d{12}",
        digits,
    ):
        return False
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    """ISO 13616: the remainder by 97 is 1."""
    iban = re.sub(r"\s", "", text).upper()
    return 15 <= len(iban) <= 34 and int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1


def _is_phone(text: str) -> bool:
    return 7 <= sum(sign.isdigit() for sign in text) <= 15


def _is_foreign_address(text: str) -> bool:
    """An address of somebody: not this machine's, no netmask, nothing that stands for all."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or text.startswith("255."))


_PREDICATES = re.compile(
    r"""(?:wrong|right|correct|incorrect|invalid|valid|required|requested|optional|mandatory|needed|missing|empty|blank
    |weak|strong|secure|safe|unsafe|good|bad|old|new|fine|ok|okay|short|long|unknown|private|public|secret|same|different
    |unique|temporary|permanent|visible|hidden|enough|too|not|no|now|never|always|still|also|only|already|so|very|just|as
    |at|in|on|by|for|from|to|of|the|a|an|my|your|our|their|his|her|it|its|this|that|there|here|and|or|but|if|when|where
    |what|why|how|who|which|is|are|was|were|be|been|being|has|have|had|can|could|will|would|should|may|might|must|do|does
    |case|field|form|page|policy|manager|reset|change|length|hash|protected|true|false|null|none|n/a|yes|nicht|falsch
    |was|wie|wo|ist|sind|und|oder|mein|dein|das|der|die|ein|eine)\b|\w+(?:ed|ing|able|ible|sensitive|less)\b""",
    re.IGNORECASE | re.VERBOSE,
)


def _is_password(value: str) -> bool:
    """Whether what follows "password is" is one, rather than a remark about it."""
    word = value.strip("\"'`“”‘’.,;!?")
    return len(word) >= 4 and not _PREDICATES.fullmatch(word)


def _is_mixed(value: str) -> bool:
    """Whether a value is made up by a machine: letters and digits, long enough."""
    return len(value) >= 8 and any(sign.isdigit() for sign in value) and any(sign.isalpha() for sign in value)


_NAMED = r"(?:api|access|secret|private|signing|client|auth|encryption|account|storage|master|license)"
_SECRET_NAME = rf"(?:{_NAMED}[\s_-]*)?(?:key|secret|token|credentials?|passcode|access[\s_-]*key|api[\s_-]*key)"
_PASSWORD_NAME = r"(?:pass(?:word|wd|phrase|code)|pwd|passwort|kennwort|mot\s+de\s+passe|contrase(?:ñ|n)a)"  # noqa: S105

_SHAPES = (
    _shape(
        "private key",
        "private",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:.*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|.*\Z)",
        flags=re.DOTALL,
    ),
    _shape("webhook", "hooks.slack.com", r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[\w/-]+"),
    _shape("webhook", "/api/webhooks/", r"https://(?:\w{1,20}\.)?discord(?:app)?\.com/api/webhooks/\d{1,25}/[\w-]+"),
    _token("slack token", "xox xapp- xwfp-", r"(?:xoxe\.)?xox[a-z]-[\w-]{8,}|xapp-\d-[\w-]{8,}|xwfp-[\w-]{8,}"),
    _token("jwt", "eyj", r"eyJ[\w-]{8,999}\.(?:eyJ[\w-]{8,}\.[\w-]*|[\w-]{16,}\.[\w-]{16,})"),
    _token("api key", "sk-", r"sk-(?:ant-|proj-|svcacct-|admin-|or-v1-|lf-)?[\w-]{16,}"),
    _token("api key", "aiza ya29. gocspx-", r"AIza[\w-]{30,}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}"),
    _token("api key", "akia asia aroa aida", r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}"),
    _token("api key", "gh github_pat_", r"gh[a-z]_[A-Za-z0-9]{30,}|github_pat_\w{22,}"),
    _token("api key", "gl", r"gl(?:pat|dt|rt|ptt|soat|agent|imt|ft|cbt|oas|sa)[-_][\w.-]{18,}"),
    _token("api key", "_live_ _test_ _prod_", r"[a-z]{2,8}_(?:live|test|prod)_[A-Za-z0-9]{10,}"),
    _token("api key", "whsec_ npm_", r"whsec_[\w+/=]{20,}|npm_[A-Za-z0-9]{30,}"),
    _token("api key", "pypi- hf_", r"pypi-[\w-]{40,}|hf_[A-Za-z0-9]{30,}"),
    _token("api key", "sg.", r"SG\.[\w-]{16,}\.[\w-]{16,}"),
    _token("api key", "sk ac", r"(?:SK|AC)[0-9a-f]{32}"),
    _token("api key", ":aa", r"\d{8,10}:AA[\w-]{30,}"),
    _token("api key", "_v1_ shp dapi", r"do[opr]_v1_[0-9a-f]{40,}|shp(?:at|ca|pa|ss)_[0-9a-f]{32}|dapi[0-9a-f]{32}"),
    _token("api key", "key- -us", r"key-[0-9a-f]{32}|[0-9a-f]{32}-us\d{1,2}"),
    _token("api key", "hvs. hvb. atatt lin_api_", r"hv[sb]\.[\w-]{20,}|ATATT3[\w=-]{20,}|lin_api_[A-Za-z0-9]{20,}"),
    _token("api key", "ntn_ gsk_ xai- r8_ pplx- sbp_", r"(?:ntn_|gsk_|xai-|r8_|pplx-|sbp_)\w{30,}"),
    _token("api key", "nrak sq0 dp. phc_", r"NRAK-[A-Z0-9]{20,}|sq0[a-z]{3}-[\w-]{20,}|(?:dp\.[a-z]{2}\.|phc_)\w{30,}"),
    _token("api key", ".", r"[MNO][A-Za-z\d_-]{22,30}\.[\w-]{6}\.[\w-]{27,}"),
    _shape("api key", "accountkey sharedaccesskey", r"(?:Account|SharedAccess)Key=(?P<value>[A-Za-z0-9+/]{30,}={0,2})"),
    _shape(
        "token",
        "token= key= sig= signature= secret= password=",
        r"[?&](?:\w{0,40}(?:token|key|secret)|sig|signature|password)=(?P<value>[^&\s<>|⟨⟩\"'`]{8,})",
        flags=re.IGNORECASE,
    ),
    _shape("login", "://", r"\w://(?P<value>[^\s/@:⟨⟩]*:[^\s/@⟨⟩]+)(?=@[\w.\[-])"),
    _shape(
        "token",
        "bearer basic token",
        r"\b(?:Bearer|Basic|Token)\s+(?P<value>[A-Za-z0-9][\w.+/~-]{11,}=*)",
        lambda value: _is_mixed(value) or value.endswith("="),
        re.IGNORECASE,
    ),
    _shape(
        "password",
        "pass pwd kennwort contrase",
        rf"\b{_PASSWORD_NAME}\b[\"'`*]*\s*(?::=?|=>?|→)\s*(?P<value>[^\s⟨⟩]{{4,}})",
        _is_password,
        re.IGNORECASE,
    ),
    _shape(
        "password",
        "pass pwd kennwort contrase",
        rf"\b{_PASSWORD_NAME}\b(?:\s+for\s+\S+|\s+to\s+\S+)?\s+(?:is|was|ist|war|lautet|est|es)(?:\s+now)?:?\s+"
        r"(?P<value>[\"'`“‘][^\"'`“”‘’\n⟨⟩]{3,}[\"'`”’]|[^\s⟨⟩]*[\d!@#$%^&*_+=~?/\\][^\s⟨⟩]*|[^\s⟨⟩]{4,}(?=[.!]?\s*(?:$|\n)))",
        _is_password,
        re.IGNORECASE,
    ),
    _shape("password", "pin", r"\b(?:PIN|pin)(?:\s+code)?\s*(?:is|:|=|ist)\s*(?P<value>\d{4,8})\b"),
    _shape(
        "secret",
        "key secret token credential passcode",
        rf"(?<![A-Za-z]){_SECRET_NAME}\b[\"'`*]*\s*(?:is|was|ist|:=?|=>?|→)\s*[\"'`*]*(?P<value>[\w.+/~-]{{8,}}=*)",
        _is_mixed,
        re.IGNORECASE,
    ),
    _shape(
        "secret",
        "_key _secret _token key= secret= token= password=",
        r"\b[A-Z][A-Z0-9_]*(?:_KEY|_SECRET|_TOKEN|PASSWORD)\s*=\s*[\"']?(?P<value>[^\s\"'⟨⟩]{8,})",
    ),
    _shape("email", "@", r"(?<![\w.+'-])(?!git@)\w(?:[\w.+'-]*[\w+])?@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}(?![\w@])"),
    _shape("iban", "", r"(?<![\w])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)", _is_iban),
    _shape("card", "", r"(?<![\w.+-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)", _is_card),
    _shape("ip", ".", r"(?<![\w.-])(?<![Vv]ersion )(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)", _is_foreign_address),
    _shape("ip", ":", r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{0,4}(?![\w:])", _is_foreign_address),
    _shape("phone", "+", r"(?<![\w.+])\+\d{1,3}(?:[\s().-]{0,2}\d){6,13}(?![\w])", _is_phone),
    _shape(
        "phone",
        "",
        r"(?<![\w.()+-])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}([ .-]))\d{3}[ .-]\d{4}(?![\w-]|\.\d)",
        _is_phone,
    ),
    _shape(
        "phone",
        "0",
        r"(?<![\w.()+:-])(?<!\d )(?:00\d{1,3}|0\d{2,4})[ /-]{1,3}\d{3,8}(?:[ -]?\d{2,4}){0,3}(?![\w:-]|\.\d)",
        _is_phone,
    ),
    _shape(
        "phone",
        "tel phone mobile call cell handy whatsapp fax number",
        r"\b(?:tel(?:efon)?|(?:tele)?phone|mobile|call(?:\s+me)?|cell|handy|whatsapp|fax)(?:\s*(?:number|no|nr))?\.?"
        r"(?:\s*(?:is|at|on|ist|:|=))?\s*(?P<value>\d(?:[\s()./-]{0,2}\d){6,13})(?![\w.-])",
        _is_phone,
        re.IGNORECASE,
    ),
)  # fmt: skip


def redact(text: str) -> str:
    """Gives the text with typed placeholders for secrets, e-mail addresses, phone, card and account numbers and IP
    addresses. Takes well under a millisecond for a message. A text in which each value hides the next is withheld."""
    return redact_together([text])[0]


def redact_together(texts: Sequence[str]) -> list[str]:
    """Gives texts that belong together, redacted: the same value has the same placeholder in all of them, and no two
    values share one."""
    names: dict[tuple[str, str], str] = {}
    redacted = list(texts)
    for _ in range(_MOST_PASSES):
        numbers = _numbers_in(redacted)
        before, redacted = redacted, [_once(text, names, numbers) for text in redacted]
        if redacted == before:
            return redacted
    return [text if text == known else _WITHHELD for text, known in zip(redacted, before, strict=True)]


def _numbers_in(texts: Iterable[str]) -> dict[str, int]:
    """The highest number that each kind of placeholder has already."""
    numbers: dict[str, int] = {}
    for text in texts:
        for kind, number in _PLACEHOLDER.findall(text):
            numbers[kind] = max(numbers.get(kind, 0), int(number))
    return numbers


def _once(text: str, names: dict[tuple[str, str], str], numbers: dict[str, int]) -> str:
    lower = text.lower()

    def name(kind: str, value: str) -> str:
        if (kind, value) not in names:
            numbers[kind] = numbers.get(kind, 0) + 1
            names[kind, value] = f"⟨{kind} {numbers[kind]}⟩"
        return names[kind, value]

    for shape in _SHAPES:
        if shape.hints and not any(hint in lower for hint in shape.hints):
            continue

        def replace(match: re.Match[str], shape: _Shape = shape) -> str:
            group = "value" if "value" in shape.pattern.groupindex else 0
            value = match[group]
            tail = value[len(value.rstrip(".,;:!?)]}'\"`”’*")) :] if group == "value" else ""
            value = value.removesuffix(tail)
            if "⟨" in value or "⟩" in value or not value or not shape.holds(value):
                return match[0]
            start = match.start(group) - match.start()
            return match[0][:start] + name(shape.kind, value) + match[0][start + len(value) :]

        text = shape.pattern.sub(replace, text)
    return text
