"""How well the fact lint tells what a page holds from what it does not. From every corpus, sentences are taken as they
stand, and spoilt by script: another number, a negation put in or taken out, another name (one of another page, or, what
is harder, one of the same passage). `python -m tests.benchmarks.linting [FOLDER]` measures on the folder's corpora,
`NAME/docs.jsonl` each; without a folder, on the sample company."""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bot.learning import linting
from bot.persona import load_persona
from bot.vocabulary import Example, Passage
from tests.benchmarks.corpus import COMPANY, SENTENCE

SEED = 20_261_122
CORPORA = ("claude_docs", "xquad", "zulip_help")
PER_KIND = 100
"""Cases of each kind from each corpus, as far as there are so many."""
LONGEST_PASSAGE = 1_000
NUMBER = re.compile(r"(?<![\w.-])\d+(?:[.,]\d+)*(?![\w-])")
NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,}(?: [A-Z][a-z]{3,})*\b")
NEGATED = re.compile(r"\b(is|are|was|were|can|will|must|should|does|do|did|has|have) not\b|\bcannot\b|\b(\w+)n't\b")
AFFIRMED = re.compile(r"\b(is|are|was|were|can|will|must|should)\b(?! not\b| no\b| never\b)")


@dataclass(frozen=True)
class Case:
    """A sentence that cites a passage, and whether the passage holds it."""

    kind: str
    sentence: str
    passage: Passage
    others: tuple[Passage, ...]
    is_held: bool

    @property
    def is_flagged(self) -> bool:
        """Whether the lint finds something wrong."""
        example = Example(
            id="case",
            team_id="T0",
            question_id="q",
            question="?",
            answer=f"{self.sentence[:-1]} [1].",
            passages=(self.passage, *self.others),
            audience="workspace",
            produced_by="human",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        return bool(list(linting.fact_problems(example, load_persona())))


def passages_of(docs: Sequence[tuple[str, str]]) -> list[Passage]:
    """Cuts pages, each a title and a text, at their paragraphs."""
    found: list[Passage] = []
    for title, text in docs:
        piece = ""
        for paragraph in [*text.split("\n\n"), None]:
            if piece and (paragraph is None or len(piece) + len(paragraph) > LONGEST_PASSAGE):
                found.append(
                    Passage(
                        id=str(len(found)), document_id=title, source="bench", title=title, text=piece.strip(),
                        audience="workspace",
                    )
                )  # fmt: skip
                piece = ""
            piece += f"{paragraph}\n\n" if paragraph else ""
    return found


def cases(passages: Sequence[Passage], drawn: random.Random) -> Iterator[Case]:
    """Makes the cases of one corpus."""
    names = sorted({name for passage in passages for name in NAME.findall(passage.text)})
    spoilers: dict[str, Callable[[str, str], str | None]] = {
        "number swapped": lambda sentence, _: _other_number(sentence, drawn),
        "negated": lambda sentence, _: _negated(sentence, drawn),
        "entity of another page": lambda sentence, text: _other_name(sentence, text, names, drawn, is_near=False),
        "entity of the same passage": lambda sentence, text: _other_name(sentence, text, names, drawn, is_near=True),
    }
    places = list({sentence: passage for passage in passages for sentence in SENTENCE.findall(passage.text)}.items())
    drawn.shuffle(places)
    counts: Counter[str] = Counter()
    for sentence, passage in places:
        others = tuple(drawn.sample(passages, 2))
        made: list[tuple[str, str, bool]] = []
        for kind, spoil in spoilers.items():
            spoilt = spoil(sentence, passage.text)
            if spoilt and spoilt not in passage.text and counts[kind] < PER_KIND:
                made.append((kind, spoilt, False))
        if (made or counts["untouched"] < PER_KIND) and counts["untouched"] < 2 * PER_KIND:
            made.append(("untouched", sentence, True))
        for kind, words, is_held in made:
            counts[kind] += 1
            yield Case(kind, words, passage, others, is_held)


def _other_number(sentence: str, drawn: random.Random) -> str | None:
    numbers = list(NUMBER.finditer(sentence))
    if not numbers:
        return None
    chosen = drawn.choice(numbers)
    digits = chosen[0]
    place = drawn.randrange(len(digits))
    while not digits[place].isdigit():
        place = drawn.randrange(len(digits))
    other = drawn.choice([digit for digit in "123456789" if digit != digits[place]])
    return sentence[: chosen.start() + place] + other + sentence[chosen.start() + place + 1 :]


def _negated(sentence: str, drawn: random.Random) -> str | None:
    if denied := NEGATED.search(sentence):
        plain = {"cannot": "can"}.get(denied[0], denied[1] or denied[2] or "")
        return sentence[: denied.start()] + plain + sentence[denied.end() :]
    found = list(AFFIRMED.finditer(sentence))
    if not found:
        return None
    chosen = drawn.choice(found)
    return f"{sentence[: chosen.end()]} not{sentence[chosen.end() :]}"


def _other_name(sentence: str, text: str, names: Sequence[str], drawn: random.Random, *, is_near: bool) -> str | None:
    mine = NAME.findall(sentence)
    others = [name for name in names if (name in text) == is_near and name not in sentence]
    others = [name for name in others if not set(name.split()) & set(sentence.split())]
    if not mine or not others:
        return None
    return sentence.replace(drawn.choice(mine), drawn.choice(others))


def measure(made: Sequence[Case]) -> dict[str, tuple[int, int]]:
    """Counts, by kind, the cases and those that were flagged."""
    counts: defaultdict[str, list[bool]] = defaultdict(list)
    for case in made:
        counts[case.kind].append(case.is_flagged)
    return {kind: (len(flags), sum(flags)) for kind, flags in counts.items()}


def precision_and_recall(counts: dict[str, tuple[int, int]]) -> tuple[float, float]:
    """Precision: of what is flagged, the share that is wrong; recall: of what is wrong, the share that is flagged."""
    false = counts.get("untouched", (0, 0))[1]
    wrong = [both for kind, both in counts.items() if kind != "untouched"]
    caught, spoilt = sum(flagged for _, flagged in wrong), sum(count for count, _ in wrong)
    return caught / ((caught + false) or 1), caught / (spoilt or 1)


def corpora(folder: Path | None) -> Iterator[tuple[str, list[Passage]]]:
    """Reads the corpora of a folder that are there, or the sample company."""
    if folder is None:
        pages = [(path.stem, path.read_text(encoding="utf-8")) for path in sorted(COMPANY.rglob("*.md"))]
        yield "sample company", passages_of(pages)
        return
    for name in CORPORA:
        file = folder / name / "docs.jsonl"
        if file.exists():
            docs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            yield name, passages_of([(doc["title"], doc["text"]) for doc in docs])


def main() -> None:
    """Prints the table, and with `--missed` what was judged wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--missed", action="store_true", help="print the cases that were judged wrongly")
    arguments = parser.parse_args()
    total: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    print("| Corpus | Kind | Cases | Flagged |\n| --- | --- | --: | --: |")
    for name, passages in corpora(arguments.folder):
        made = list(cases(passages, random.Random(SEED)))
        for kind, (count, hits) in sorted(measure(made).items()):
            total[kind] += count
            flagged[kind] += hits
            print(f"| {name} | {kind} | {count} | {hits / count:.1%} |")
        for case in made if arguments.missed else ():
            if case.is_flagged == case.is_held:
                print(f"  {case.kind}: {case.sentence}")
    counts = {kind: (total[kind], flagged[kind]) for kind in total}
    for kind, (count, hits) in sorted(counts.items()):
        print(f"| all | {kind} | {count} | {hits / count:.1%} |")
    precision, recall = precision_and_recall(counts)
    print(f"\nOf {sum(total.values())} cases: precision {precision:.1%}, recall {recall:.1%}.")


if __name__ == "__main__":
    main()
