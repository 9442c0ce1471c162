"""`/support matrix`: what the newest decision matrix found. Measuring takes long and is done on the command line."""

from __future__ import annotations

from bot.learning.versions.register import Register
from handlers import blocks
from handlers.mrkdwn import escape
from handlers.reviewing import Shown

HOW = (
    "On the server, `python -m bot matrix QUESTIONS.jsonl` puts your own questions to each way of answering (models, "
    "prompts, retrieval), and compares quality, speed and cost."
)


async def shown(register: Register) -> Shown:
    """Tells the newest matrix, or how to make one."""
    found = await register.matrix()
    if found is None:
        return f"No matrix was made yet. {HOW}", None
    head = f"*The matrix of {found.at:%d %B %Y}*, {found.questions} questions to each of {', '.join(found.arms)}"
    return blocks.listed([escape(head), *(f"• {escape(line)}" for line in found.lines), HOW])
