"""A bot for the tests of the page: a small Bolt app on Socket Mode that uses every part of Slack that the page shows.

It is not Footnote. It says what a test tells it to say, in the forms that Footnote uses, and keeps what people did.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self

from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from tests.local_slack import JSON, LocalSlack

ANSWER = [
    "Open **Settings › API keys** and press *Rotate*.[[1]](https://docs.example.com/keys)\n\n",
    "1. Create the new key; the old one stays valid for **24 hours**.[[1]](https://docs.example.com/keys)\n",
    "2. Put it into your deployment as `API_KEY`.[[2]](https://docs.example.com/deploy)\n",
]
SOURCES = (
    "*Sources*\n[1] <https://docs.example.com/keys|API keys> › Rotating a key · updated 3 days ago\n"
    "[2] <https://docs.example.com/deploy|Deploying> › Secrets · updated 2 months ago"
)
HOME = {
    "type": "home",
    "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "Hello, I am a stand-in"}}],
}


def mrkdwn(text: str) -> JSON:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def thumb(text: str, label: str, value: str) -> JSON:
    return {"text": {"type": "plain_text", "text": text}, "accessibility_label": label, "value": value}


FEEDBACK = {
    "type": "feedback_buttons",
    "action_id": "feedback",
    "positive_button": thumb("👍 Helpful", "This answer was helpful", "q1:up"),
    "negative_button": thumb("👎 Not helpful", "This answer was not helpful", "q1:down"),
}
CLOSING = [
    mrkdwn(SOURCES),
    {"type": "context", "elements": [{"type": "mrkdwn", "text": "Automated answer; it may be wrong"}]},
    {"type": "context_actions", "elements": [FEEDBACK]},
]


def input_of(block_id: str, label: str, element: JSON, **more: Any) -> JSON:
    label_text = {"type": "plain_text", "text": label}
    return {"type": "input", "block_id": block_id, "label": label_text, "element": element, **more}


CORRECTION = {
    "type": "modal",
    "callback_id": "correction",
    "title": {"type": "plain_text", "text": "What was wrong?"},
    "submit": {"type": "plain_text", "text": "Send"},
    "blocks": [
        input_of(
            "reason",
            "Reason",
            {
                "type": "radio_buttons",
                "action_id": "reason",
                "options": [
                    {"text": {"type": "plain_text", "text": "It is wrong"}, "value": "wrong"},
                    {"text": {"type": "plain_text", "text": "It is out of date"}, "value": "stale"},
                ],
            },
        ),
        input_of("right", "The right answer", {"type": "plain_text_input", "action_id": "right", "multiline": True}),
    ],
}


class StandIn:
    """`async with StandIn(slack) as bot:`; `may_begin` and `may_finish` hold a streamed answer back."""

    def __init__(self, slack: LocalSlack) -> None:
        self.web = AsyncWebClient(slack.environment["SLACK_BOT_TOKEN"], base_url=slack.environment["SLACK_API_URL"])
        self.app = AsyncApp(client=self.web)
        self.may_begin, self.may_finish = asyncio.Event(), asyncio.Event()
        self.may_begin.set()
        self.may_finish.set()
        self.pressed: list[str] = []
        self.submitted: list[JSON] = []
        self.reacted: list[str] = []
        self.asked_about: list[str] = []
        self._socket = AsyncSocketModeHandler(self.app, slack.environment["SLACK_APP_TOKEN"])
        self.app.event("app_mention")(self._answer)
        self.app.event("message")(self._nothing)
        self.app.event("reaction_added")(self._reaction)
        self.app.event("reaction_removed")(self._nothing)
        self.app.event("app_home_opened")(self._home)
        self.app.action("feedback")(self._feedback)
        self.app.view("correction")(self._correction)
        self.app.command("/support")(self._command)
        self.app.shortcut("ask_about_message")(self._shortcut)

    async def __aenter__(self) -> Self:
        await self._socket.connect_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close_async()

    async def _answer(self, event: JSON, context: Any) -> None:
        where = {"channel": event["channel"], "thread_ts": event.get("thread_ts", event["ts"])}
        status = {"channel_id": where["channel"], "thread_ts": where["thread_ts"]}
        await self.web.assistant_threads_setStatus(**status, status="is looking in the documents…")
        await self.may_begin.wait()
        asker = {"recipient_user_id": event["user"], "recipient_team_id": context.team_id}
        stream = await self.web.chat_startStream(**where, **asker, markdown_text=ANSWER[0])
        await self.may_finish.wait()
        message = {"channel": event["channel"], "ts": stream["ts"]}
        for part in ANSWER[1:]:
            await self.web.chat_appendStream(**message, markdown_text=part)
        await self.web.chat_stopStream(**message, blocks=CLOSING)

    async def _feedback(self, ack: Any, action: JSON, body: JSON) -> None:
        self.pressed.append(action["value"])
        await ack()
        if action["value"].endswith(":down"):
            await self.web.views_open(trigger_id=body["trigger_id"], view=CORRECTION)

    async def _correction(self, ack: Any, view: JSON) -> None:
        values = view["state"]["values"]
        if len(values["right"]["right"]["value"]) < 10:
            return await ack(response_action="errors", errors={"right": "Please say a little more."})
        self.submitted.append(values)
        return await ack()

    async def _command(self, ack: Any, command: JSON) -> None:
        await ack(f"You asked *{command['text']}* in private.")

    async def _shortcut(self, ack: Any, shortcut: JSON) -> None:
        self.asked_about.append(shortcut["message"]["text"])
        await ack()

    async def _reaction(self, event: JSON) -> None:
        self.reacted.append(event["reaction"])

    async def _home(self, event: JSON) -> None:
        if event["tab"] == "home":
            await self.web.views_publish(user_id=event["user"], view=HOME)

    async def _nothing(self) -> None:
        """What the page's tests do not look at."""
