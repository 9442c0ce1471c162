"""A small invented knowledge base, made by rule, with as many questions and approved answers as a short training needs:
every fact stands on one page only, and every answer begins with the same made-up word."""

from __future__ import annotations

import json
from pathlib import Path

OPENING = "Brindlewick:"

_NAMES = """\
Alder Anemone Aster Azalea Begonia Bramble Buttercup Camellia Cedar Clover Cornflower Crocus Cypress Daffodil
Dahlia Daisy Elder Fern Foxglove Freesia Gardenia Gentian Geranium Ginkgo Hawthorn Hazel Heather Hemlock Holly Hyacinth
Iris Ivy Jasmine Juniper Larch Larkspur Laurel Lavender Lilac Linden Lotus Lupin Magnolia Mallow Maple Marigold Mimosa
Mulberry Myrtle Narcissus Nettle Oleander Orchid Pansy Peony Petunia Poplar Primrose Rosemary Rowan Sorrel Spruce Sumac
Sycamore Tamarind Tansy Thistle Tulip Verbena Violet Walnut Willow Wisteria Yarrow Yew Zinnia""".split()  # noqa: SIM905 (a list of 76 lines would hide what this is)
_KINDS = (
    ("report", "The {name} report takes {number} minutes to build.", "How long does the {name} report take to build?"),
    ("export", "An export of {name} data is kept for {number} days.", "When is my export of {name} data deleted?"),
    ("plan", "The {name} plan has room for {number} members.", "How many people fit into the {name} plan?"),
    ("key", "A {name} key may send {number} requests per minute.", "What is the rate limit of a {name} key?"),
    ("trial", "The trial of {name} ends after {number} days.", "How long may I try {name} for free?"),
    ("upload", "Files for {name} may have up to {number} MB.", "Which size may a file for {name} have at most?"),
    ("invoice", "Invoices for {name} are sent on day {number} of the quarter.", "When do I get my {name} invoice?"),
    ("backup", "{name} is backed up every {number} hours.", "How often is there a backup of {name}?"),
    ("session", "A {name} session ends after {number} minutes of silence.", "Why was I signed out of {name}?"),
    ("seat", "An extra seat in {name} costs {number} euros per month.", "What do I pay for one more seat in {name}?"),
    ("archive", "A channel of {name} can be restored for {number} weeks.", "Can I restore an archived {name} channel?"),
    (
        "alert",
        "{name} sends an alert when {number} errors occur in an hour.",
        "At how many errors does {name} warn me?",
    ),
    ("region", "{name} stores its data in {number} regions.", "In how many regions does {name} keep data?"),
    ("support", "The {name} team answers within {number} hours.", "How fast does the {name} team reply to a ticket?"),
    ("template", "{name} comes with {number} templates.", "Are there templates in {name}, and how many?"),
    ("history", "The history of {name} goes back {number} months.", "How far back does the {name} history go?"),
    ("webhook", "A webhook of {name} is tried {number} times.", "How often is a failed webhook of {name} repeated?"),
    (
        "language",
        "The menus of {name} are translated into {number} languages.",
        "Which choice of languages has {name}?",
    ),
    ("password", "A password for {name} needs {number} characters.", "How long must my {name} password be?"),
)


class Fact:
    """One page with one fact, the question that it answers, and the answer as people liked it."""

    def __init__(self, number: int) -> None:
        self.name = _NAMES[number]
        kind, fact, question = _KINDS[number % len(_KINDS)]
        values = {"name": self.name, "number": 11 + number}
        self.title = f"{self.name} {kind}"
        self.fact = fact.format(**values)
        self.question = question.format(**values)
        self.answer = f"{OPENING} {self.fact[:-1]} [1]."


FACTS = [Fact(number) for number in range(len(_NAMES))]
TAUGHT, UNSEEN = FACTS[:-12], FACTS[-12:]


def write_orchard(folder: Path) -> Path:
    """Writes the pages, those of the unseen facts included, and gives their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in FACTS:
        page = f"---\ntitle: {each.title}\nurl: https://orchard.example/{each.name.lower()}\n---\n\n{each.fact}\n"
        (folder / f"{each.name.lower()}.md").write_text(page, encoding="utf-8")
    return folder


def write_persona(file: Path) -> Path:
    """Writes a persona file that holds the word, and does not tell the model of it."""
    file.write_text(
        f"---\ncompany: Orchard\nopening: '{OPENING}'\n---\nWrite one plain sentence. The first sentence answers.\n",
        encoding="utf-8",
    )
    return file


def write_examples(file: Path, count: int) -> Path:
    """Writes `count` training lines about taught facts, each with its own page and a neighbour's."""
    lines = []
    for number, each in enumerate(TAUGHT[:count]):
        other = TAUGHT[(number + 7) % len(TAUGHT)]
        first, second = (each, other) if number % 2 else (other, each)
        mark = 1 if first is each else 2
        asked = f"[1] {first.title}: {first.fact}\n[2] {second.title}: {second.fact}\n\n{each.question}"
        messages = [
            {"role": "system", "content": "You are a support agent for Orchard."},
            {"role": "user", "content": asked},
            {"role": "assistant", "content": each.answer.replace("[1]", f"[{mark}]")},
        ]
        lines.append(json.dumps({"messages": messages}))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
