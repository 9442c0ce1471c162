"""What the commands read and say alike: the people and channels behind a command, and the advice of other rooms, which
speak of the shell, in the words of `/support`."""

from __future__ import annotations

import re

from bot.errors import TellUser

_PERSON = re.compile(r"<?@?([UW][A-Z0-9]{2,})(?:\|[^>]*)?>?")
_CHANNEL = re.compile(r"<?#?([CG][A-Z0-9]{2,})(?:\|[^>]*)?>?")
_ALONE = r"(?<![\w/] )(?<![\w-])"
"""Not behind another word, such as that of a command in Slack."""
_SHELL = tuple(
    (re.compile(_ALONE + shell), slack)
    for shell, slack in (
        (
            r'train (promote|canary) (\S+)(?: --channel C…)? --override "REASON"',
            r"/support model \1 \2 override: REASON",
        ),
        (r"train canary (\S+) --channel C…", r"/support model canary \1 #CHANNEL"),
        (r"train (gate|promote|rollback)\b", r"/support model \1"),
        (r"--few\b", "`/support train start few`"),
        (r"train start\b", "/support train start"),
        (r"train status\b", "/support train"),
        (r"train review\b", "/support examples"),
        (r"train (import|draft)\b", r"python -m bot train \1"),
    )
)


def person_in(word: str, use: str) -> str:
    """Reads the id of a mentioned person. Raises TellUser with the right use."""
    if found := _PERSON.fullmatch(word):
        return found[1]
    raise TellUser(f"Mention a person: `{use}`.")


def channel_in(word: str, use: str) -> str:
    """Reads the id of a mentioned channel. Raises TellUser with the right use."""
    if found := _CHANNEL.fullmatch(word):
        return found[1]
    raise TellUser(f"Name a channel with its `#`: `{use}`.")


def in_slack(text: str) -> str:
    """Gives advice that was written for the shell as what one types in Slack."""
    for shell, slack in _SHELL:
        text = shell.sub(slack, text)
    return text
