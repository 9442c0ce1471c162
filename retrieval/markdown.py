"""What we need to know of Markdown: which lines are code, which are headings, and what its readers do not see. Done
line by line and in linear time, for a page may have been written to make patterns run for ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_NOT_UNDERLINED = ("|", "-", "*", "+", ">", "#", "<")


@dataclass(frozen=True)
class Line:
    """A line of a page; `level` is 1 to 6 for a heading, whose words are then `text`, else 0."""

    text: str
    level: int = 0
    is_code: bool = False


def lines(markdown: str) -> Iterator[Line]:
    """Gives the lines of a page, its headings (`# …`, or underlined) told from the rest."""
    raw = markdown.split("\n")
    fence = ""
    number = 0
    while number < len(raw):
        line, below = raw[number], raw[number + 1].strip() if number + 1 < len(raw) else ""
        number += 1
        is_code, fence = _code(line, fence)
        if is_code:
            yield Line(line, is_code=True)
            continue
        level, words = _heading(line)
        if not level and (number < 2 or not raw[number - 2].strip()) and _is_underlined(line, below):
            level, words = (1 if below[0] == "=" else 2), line.strip()
            number += 1
        yield Line(words if level else line, level)


def first_heading(markdown: str) -> str | None:
    """Gives the words of a page's first heading, if it has one."""
    return next((line.text for line in lines(markdown) if line.level and line.text), None)


def without_comments(markdown: str) -> str:
    """Drops `<!-- … -->`, which readers of the page never see, except in code."""
    if "<!--" not in markdown:
        return markdown
    kept: list[str] = []
    fence = ""
    is_hidden = False
    for line in markdown.split("\n"):
        is_code, fence = (False, "") if is_hidden else _code(line, fence)
        if not is_code:
            line, is_hidden = _seen(line, is_hidden)
        kept.append(line)
    return "\n".join(kept)


def _seen(line: str, is_hidden: bool) -> tuple[str, bool]:
    """Gives what is seen of a line, and whether a comment goes on after it."""
    seen: list[str] = []
    place = 0
    while True:
        if is_hidden:
            end = line.find("-->", place)
            if end < 0:
                return "".join(seen), True
            place, is_hidden = end + 3, False
        start = line.find("<!--", place)
        if start < 0 or line.count("`", place, start) % 2:  # in `code`
            return "".join((*seen, line[place:])), False
        seen.append(line[place:start])
        place, is_hidden = start + 4, True


def _code(line: str, fence: str) -> tuple[bool, str]:
    """Says whether a line is code when `fence` is open before it, and gives the fence that is open after it."""
    mark = _fence(line)
    if not fence:
        return bool(mark), mark
    is_end = mark.startswith(fence) and not line.strip().strip(fence[0])
    return True, "" if is_end else fence


def _fence(line: str) -> str:
    """Gives the marks that open or close code, if the line does."""
    stripped = line.lstrip(" ")
    for sign in "`~":
        marks = len(stripped) - len(stripped.lstrip(sign))
        if marks >= 3 and len(line) - len(stripped) <= 3 and (sign == "~" or "`" not in stripped[marks:]):
            return sign * marks
    return ""


def _heading(line: str) -> tuple[int, str]:
    stripped = line.lstrip(" ")
    level = len(stripped) - len(stripped.lstrip("#"))
    rest = stripped[level:]
    if not 1 <= level <= 6 or len(line) - len(stripped) > 3 or (rest and rest[0] not in " \t"):
        return 0, ""
    words = rest.strip()
    without_marks = words.rstrip("#")
    return level, without_marks.rstrip() if without_marks[-1:] in ("", " ", "\t") else words


def _is_underlined(line: str, below: str) -> bool:
    is_rule = len(below) >= 2 and below[0] in "=-" and not below.strip(below[0])
    return is_rule and bool(line.strip()) and not line.lstrip().startswith(_NOT_UNDERLINED)
