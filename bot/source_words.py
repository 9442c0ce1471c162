"""What people say about sources, in the shell and in Slack alike: schedules, and addresses. In Slack an address is read
by more eyes than the operator's, and written by hands that are not the operator's. So what looks like a secret, by its
shape or by the name that it has, is never shown there (a key that is a plain part of a path has neither); and only what
stands on the web may be named, or what the operator has opened (SLACK_SOURCES), for anything else is read from the
server's own disk or with the keys that the server holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from bot.errors import TellUser
from bot.redacting import redact

_UNITS = {"m": 60, "h": 3600, "d": 86400}
_SCHEDULE = re.compile(r"([1-9]\d{0,4})([mhd])")
_WEB = ("http", "https")
_LOCAL = frozenset({"file", "local", "memory"})
_NAMES_PARTS = ("github", "abfs", "abfss", "az", "sftp", "ssh")
"""Before an `@` they have the owner or the container, or who it is that logs in; what follows a colon there is a
password but for GitHub, where it is the repository."""
_TOKEN = re.compile(
    r"token|secret|signature|passw|pwd|credential|session|jwt|api_?key|access_?key|(?<![a-z])(?:sig|key|auth|code)(?![a-z])",
    re.IGNORECASE,
)
"""In the name of a value: in a query, in a fragment, and after a semicolon in a path."""
_ENDS = re.compile(r"[/?#&;]")
_UNBROKEN = re.compile(r"[A-Za-z0-9]{16,}")
_ADDRESS = re.compile(r"\b[a-zA-Z][\w+.-]*://[^\s<>\"]+")
_HIDDEN = "…"
_PLACEHOLDER = re.compile(r"⟨(?!ip )[^⟩]*⟩")


def seconds_of(every: str) -> int:
    """Reads a schedule: `30m`, `6h`, `1d`, or `never`, which is 0. Raises TellUser for anything else."""
    if every == "never":
        return 0
    found = _SCHEDULE.fullmatch(every)
    if not found:
        raise TellUser("write minutes, hours or days, as 30m, 6h or 1d, or never")
    return int(found[1]) * _UNITS[found[2]]


def interval(every_s: int) -> str:
    """Writes a schedule as `seconds_of` reads it."""
    unit = next(unit for unit in ("d", "h", "m") if every_s % _UNITS[unit] == 0 or unit == "m")
    return f"{every_s // _UNITS[unit]}{unit}"


def holds_secret(address: str) -> bool:
    """Whether an address holds a login, a signature or anything else that looks like a key."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return True  # nobody knows
    before, at, _ = parts.netloc.rpartition("@")
    if at and (parts.scheme not in _NAMES_PARTS or (":" in before and parts.scheme != "github")):
        return True
    beyond = unquote(f"{parts.path}?{parts.query}#{parts.fragment}")
    values = [one.partition("=")[::2] for one in _ENDS.split(beyond) if "=" in one]
    if any(_TOKEN.search(name) or _is_made_up(value) for name, value in values):
        return True
    plain = re.sub(r"[@:]", " ", unquote(address))  # else an owner and a repository look like a login
    return _PLACEHOLDER.search(redact(plain)) is not None


def _is_made_up(value: str) -> bool:
    """Whether a value is none that a person gave: letters and digits, and nothing that parts them."""
    return any(not (run.isalpha() or run.isdigit()) for run in _UNBROKEN.findall(value))


def shown_address(address: str) -> str:
    """Gives an address as it may be shown: without a login, and without the values of its query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address.partition("://")[0] + f"://{_HIDDEN}"
    if not parts.netloc:
        return address
    query = re.sub(r"=[^&]*", f"={_HIDDEN}", parts.query) if "=" in parts.query else _HIDDEN if parts.query else ""
    bare = parts._replace(query="", fragment="")
    if holds_secret(bare.geturl()):
        bare = bare._replace(netloc=parts.netloc.rpartition("@")[2])
    if holds_secret(bare.geturl()):
        bare = bare._replace(path=f"/{_HIDDEN}")
    return bare._replace(query=query).geturl()


def without_secrets(text: str) -> str:
    """Gives a text with each address in it as it may be shown."""
    return _ADDRESS.sub(lambda found: shown_address(found[0]), text)


def check_from_slack(address: str, opened: Iterable[str]) -> str:
    """Gives the address of a source that somebody names in Slack, with its scheme in small letters.

    Raises TellUser for one that only the operator may name: what is neither on the web nor begins as the operator said
    (`opened`), each such beginning up to the end of one of the address's parts.
    """
    scheme, separator, rest = address.partition("://")
    scheme = scheme.lower()
    address = f"{scheme}{separator}{rest}"
    if "⟨" in address or holds_secret(address):
        raise TellUser(
            "That address holds what looks like a login, a token or a key. I keep no such thing, nor would I show it: "
            "what needs one is added on the server."
        )
    if not separator or scheme in _LOCAL or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise TellUser(_NOT_FROM_SLACK)
    if scheme in _WEB and urlsplit(address).hostname and re.fullmatch(r"[^\s\\<>\"]+", rest):
        return address
    is_odd = "::" in address or ".." in unquote(rest).split("/") or re.search(r"[\s\\%<>\"]", rest)
    if is_odd or not any(_is_below(address, beginning) for beginning in opened):
        raise TellUser(_NOT_FROM_SLACK)
    return address


_NOT_FROM_SLACK = (
    "From Slack I read web addresses only (`https://…`), and what the operator has opened for it (SLACK_SOURCES): "
    "anything else lies on the server, or needs the server's keys. There it is added by `python -m bot sources add …`."
)


def _is_below(address: str, beginning: str) -> bool:
    if "://" not in beginning or beginning.partition("://")[0] in _LOCAL or not address.startswith(beginning):
        return False
    ends = ("/", "@") if beginning.startswith("github://") else ("/",)
    return address == beginning or beginning.endswith(("/", ":")) or address[len(beginning)] in ends
