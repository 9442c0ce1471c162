"""Takes every way out of what a model wrote: links, images, mentions, addresses, invisible characters. A poisoned page
can make a model say anything, and a link is how that does harm (even unclicked, by a preview), so the model writes
`[n]` and the only links in an answer are those that `citing` makes from the sources.

A developer's documentation is useless without its addresses, though. So an address stays, as inert code and never as a
link, if it stands verbatim in a given passage *and* belongs to the site that this passage comes from. A stranger's
address that somebody planted in a page meets the first condition but not the second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from urllib.parse import urlsplit

from bot.vocabulary import Passage

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_LINE_SEPARATORS = re.compile("\r\n?|[\u0085\u2028\u2029]")

_REFERENCE = re.compile(r"^\s*\[[^\]\n]+\]:\s*\S+.*$", re.MULTILINE)
_IMAGE = re.compile(r"!\[[^\]\n]*\](?:\([^)\n]*\)?|\[[^\]\n]*\])?")
_LINK = re.compile(r"\[([^\[\]\n]*)\](?:\((?:[^()\n]|\([^()\n]*\))*\)?|\[(?!\d+\])[^\]\n]+\])")
_REST_OF_LINK = re.compile(r"\](?:\([^)\s]*\)?)")  # of one that began in a sentence before
_CHANNEL = re.compile(r"<#[A-Z0-9]+\|([^>\n]*)>")
_SLACK_LINK = re.compile(r"<(?:https?|mailto|tel|slack)[^|>\n]*\|([^>\n]*)>", re.IGNORECASE)
_ANGLED = re.compile(r"<[@#!/a-zA-Z][^>\n]*>?")
_BRACKETED = re.compile(r"\s*[(\[<]([^\s()\[\]<>]+)[)\]>]")
_MENTION = re.compile(r"[@＠](?:here|channel|everyone|group|[UWSB][A-Z0-9]{3,})\b", re.IGNORECASE)

_DOT = r"[.。．｡]"
_HOST = rf"[^\W_](?:[\w-]*\w)?(?:{_DOT}[^\W_](?:[\w-]*\w)?)+"
_ADDRESS = re.compile(
    rf"""(?P<url>(?:[a-zA-Z][a-zA-Z0-9+.-]{{1,20}}:(?://|\\/\\/|／／)|//(?=[\w-]+{_DOT}))[^\s<>"'`|]*
        |(?:mailto|tel|javascript|data|vbscript|file|sms|slack|hxxps?):[^\s<>"'`|]+)
    |(?P<email>[\w.+%-]+[@＠]{_HOST})
    |(?P<dotted>{_HOST})(?P<path>[:/?\#][^\s<>"'`|)]*)?""",
    re.IGNORECASE | re.VERBOSE,
)
_HINT = re.compile(r"[:@]|//|\.[^\W_]")
"""In ASCII each address holds one of these, and to look for them takes little of the time."""
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_SUFFIX = re.compile(r"[^\W\d_]{2,}|xn--[\w-]+", re.IGNORECASE)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# The generic endings that chat clients turn into links; every ending of two letters is a country.
_ENDINGS = _set(
    """com net org edu gov mil int info biz name pro aero museum mobi tel travel jobs app dev page web cloud
    site online store shop blog tech space website world today live life email link click top xyz club fun icu
    vip win bid loan work works zone zip mov foo bar lol wtf cam chat social media news press host hosting
    network systems software solutions services support agency company group team digital design studio art
    games game video photo pics gallery bank money finance fund cash credit insure law legal health care clinic
    academy school university training guide wiki help center city land earth green global international example
    test invalid localhost local internal lan onion arpa africa asia berlin london paris tokyo nyc amsterdam
    swiss eus cat crypto gift gifts promo rest bar cafe pizza beer download stream party science date review
    trade webcam men racing accountant faith cricket gdn mom quest sbs cfd bond skin hair beauty makeup monster
    autos boats homes yachts motorcycles tattoo"""
)
_FILES = _set("md py rs sh pl js ts go rb cc so ps mk json yaml yml toml txt csv pdf png zip html xml env ini cfg")
_THIS_MACHINE = _set("localhost 127.0.0.1 0.0.0.0")
# Under these anybody can have a name, so a shared ending is no shared owner.
_SHARED = _set(
    """github.io gitlab.io pages.dev workers.dev vercel.app netlify.app herokuapp.com web.app firebaseapp.com
    azurewebsites.net cloudfront.net amazonaws.com blogspot.com wordpress.com notion.site gitbook.io
    readthedocs.io atlassian.net zendesk.com freshdesk.com sharepoint.com myshopify.com ngrok.io ngrok.app
    trycloudflare.com googleapis.com appspot.com run.app fly.dev onrender.com surge.sh glitch.me repl.co
    s3.amazonaws.com"""
)


def visible(text: str) -> str:
    """Removes control, zero-width, bidirectional, tag and filler characters; line separators become newlines."""
    if text.isascii() and text.replace("\n", "").isprintable():  # most of what is read: nothing to look for
        return text
    return _INVISIBLE.sub("", _LINE_SEPARATORS.sub("\n", text))


class Defuser:
    """Makes a model's sentences harmless, knowing the passages that it was given."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages

    @cached_property
    def _held(self) -> list[tuple[str, str]]:
        """Each passage's words, and whose it is; read only when there is an address to judge."""
        return [(visible(f"{passage.title}\n{passage.text}").lower(), site(passage.url)) for passage in self._passages]

    def defuse(self, sentence: str) -> str | None:
        """Gives the sentence without its ways out, or None when what is left would have a hole where an address was."""
        parts = _CODE.split(sentence)
        for index, part in enumerate(parts):
            if index % 2:
                if any(self._fate(found) != "keep" for found in _ADDRESS.finditer(part) if not _is_plain(found)):
                    return None
                continue
            without = self._prose(part)
            if without is None:
                return None
            parts[index] = without
        return "".join(parts)

    def _prose(self, text: str) -> str | None:
        if "]" in text:
            text = _REFERENCE.sub("", text)
            text = _IMAGE.sub("", text)
            for _ in range(3):  # links nest: [[x](a)](b)
                text = _LINK.sub(r"\1", text)
            text = _REST_OF_LINK.sub("", text)
        if "<" in text:
            text = _SLACK_LINK.sub(r"\1", _CHANNEL.sub(r"#\1", text))
            text = _ANGLED.sub("", text)
        if "@" in text or "＠" in text:
            text = _MENTION.sub("", text)
        # An address in brackets can go without leaving a hole.
        if ")" in text or "]" in text or ">" in text:
            text = _BRACKETED.sub(self._bracketed, text)
        if text.isascii() and not _HINT.search(text):
            return text
        has_hole = False

        def replace(found: re.Match[str]) -> str:
            nonlocal has_hole
            if _is_plain(found):
                return found[0]
            fate = self._fate(found)
            if fate == "keep":
                address, tail = _without_tail(found[0])
                return f"`{address}`{tail}"
            if fate == "space":
                return re.sub(_DOT, ". ", found[0])
            has_hole = True
            return ""

        text = _ADDRESS.sub(replace, text)
        return None if has_hole else text

    def _bracketed(self, match: re.Match[str]) -> str:
        found = _ADDRESS.fullmatch(match[1])
        return "" if found and not _is_plain(found) and self._fate(found) == "drop" else match[0]

    def _fate(self, found: re.Match[str]) -> str:
        """`keep` as inert code, `drop`, or `space`: no address, only a full stop without a space after it."""
        address, _ = _without_tail(found[0].lower())
        holders = [owner for text, owner in self._held if address in text]
        if found["dotted"]:
            suffix = found["dotted"].lower().rsplit(".", 1)[-1]
            is_file = suffix in _FILES and not found["path"] and found["dotted"].count(".") == 1
            is_call = found.string[found.end() : found.end() + 1] == "("
            is_domain = len(suffix) == 2 or suffix in _ENDINGS or not suffix.isascii()
            is_domain = is_domain and not is_file and not (is_call and holders)
            if not is_domain:
                return "keep" if holders else "space"
        owner = site(address)
        is_own = owner in holders or (holders and owner in _THIS_MACHINE)
        return "keep" if owner and is_own else "drop"


def site(address: str | None) -> str:
    """Gives the part of an address that one owner holds: `heronpost.example` of `https://docs.heronpost.example/a`."""
    if not address:
        return ""
    address = re.sub(_DOT, ".", address.lower())
    if "://" not in address:
        address = "//" + address.removeprefix("mailto:").rsplit("@", 1)[-1]
    try:
        host = (urlsplit(address).hostname or "").strip(".")
    except ValueError:
        return ""
    labels = host.split(".")
    if (
        len(labels) < 2
        or labels[-1].isdigit()
        or any(host == shared or host.endswith("." + shared) for shared in _SHARED)
    ):
        return host
    is_country_below_kind = len(labels[-1]) == 2 and labels[-2] in {"co", "com", "org", "net", "ac", "gov", "edu", "or"}
    return ".".join(labels[-3 if is_country_below_kind else -2 :])


def _is_plain(found: re.Match[str]) -> bool:
    """Whether a dotted token cannot be an address: 1.2.3, e.g, U.S, 10.0.0.1."""
    if not found["dotted"]:
        return False
    labels = re.split(_DOT, found["dotted"])
    return not _SUFFIX.fullmatch(labels[-1]) or all(len(label) == 1 for label in labels)


def _without_tail(address: str) -> tuple[str, str]:
    """Parts the punctuation of the sentence from an address that it follows."""
    kept = address.rstrip(".,;:!?)]}*_'\"")
    return kept, address[len(kept) :]
