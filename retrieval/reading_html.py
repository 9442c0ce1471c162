"""The words of a web page that its readers see: the main content as Markdown, with headings, tables, lists and code,
and without navigation, banners, scripts and whatever the page hides."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from retrieval.decoding import declared_charset, decoded

if TYPE_CHECKING:
    from configparser import ConfigParser

_UNSEEN_TAGS = ("script", "style", "template", "noscript", "nav", "iframe", "object", "svg", "form", "dialog")
_UNSEEN_STYLE = re.compile(
    r"""display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*0?\.?0*\s*(?:;|!|$)
    |font-size\s*:\s*0*\.?0*(?:[a-z]+|%)?\s*(?:;|!|$)|text-indent\s*:\s*-\d{3,}|(?:left|top|right)\s*:\s*-\d{3,}
    |clip(?:-path)?\s*:\s*(?:rect\(\s*0|inset\(\s*(?:50|100)%)|color\s*:\s*transparent""",
    re.IGNORECASE | re.VERBOSE,
)
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_SIMPLE_SELECTOR = re.compile(r"\s*[a-z0-9]*([.#])([\w-]+)\s*", re.IGNORECASE)


def page_to_markdown(raw: bytes, charset: str | None = None) -> tuple[str | None, str]:
    """Gives a page's title and its main content; raises Unfit when its bytes are no text."""
    return html_to_markdown(decoded(raw, charset or declared_charset(raw)))


def html_to_markdown(page: str) -> tuple[str | None, str]:
    """Gives a page's title and its main content as Markdown; empty where there is nothing to read."""
    from lxml import etree, html  # type: ignore[import-untyped]
    from trafilatura import extract

    try:
        tree = html.document_fromstring(page.encode(), parser=html.HTMLParser(encoding="utf-8", remove_comments=True))
    except (etree.ParserError, ValueError):
        return None, ""
    _drop_unseen(tree)
    heading = next((_words(node) for node in tree.iter("h1")), None)
    title = heading or next((_words(node) for node in tree.iter("title")), None)
    _mark_main_content(tree)
    text = extract(
        tree,
        output_format="markdown",
        include_formatting=True,
        include_tables=True,
        include_comments=False,
        config=_any_length(),
    )
    return title or None, text or ""


def _drop_unseen(tree: Any) -> None:
    unseen = _unseen_names("\n".join(style.text or "" for style in tree.iter("style")))
    for node in list(tree.iter()):
        if not isinstance(node.tag, str) or node.getparent() is None:
            continue
        names = {f".{name}" for name in node.get("class", "").split()} | {f"#{node.get('id')}"}
        is_hidden = "hidden" in node.attrib or node.get("aria-hidden") == "true" or not unseen.isdisjoint(names)
        if node.tag in _UNSEEN_TAGS or is_hidden or _UNSEEN_STYLE.search(node.get("style", "")):
            node.drop_tree()


def _unseen_names(css: str) -> set[str]:
    """Gives the classes and ids (`.name`, `#name`) that a page's own style sheet hides."""
    return {
        "".join(simple.groups())
        for selectors, style in _RULE.findall(css[:200_000])
        if _UNSEEN_STYLE.search(style)
        for selector in selectors.split(",")
        if (simple := _SIMPLE_SELECTOR.fullmatch(selector))
    }


def _mark_main_content(tree: Any) -> None:
    """Wraps the body of a page that does not say where its content is: a short one would lose its headings."""
    body = tree.find("body")
    if body is None or next(tree.iter("main", "article"), None) is not None:
        return
    wrapper = body.makeelement("article")
    wrapper.text, body.text = body.text, None
    wrapper.extend(list(body))
    body.append(wrapper)


def _words(node: Any) -> str:
    return " ".join(node.text_content().split())


@cache
def _any_length() -> ConfigParser:
    from trafilatura.settings import use_config

    config: ConfigParser = use_config()
    for least in ("MIN_EXTRACTED_SIZE", "MIN_OUTPUT_SIZE"):
        config["DEFAULT"][least] = "1"
    return config
