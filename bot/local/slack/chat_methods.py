"""The Web API methods that write: chat.*, reactions.*, views.*, and the status of a thread."""

from __future__ import annotations

import re
from typing import Any

from bot.local.slack import block_kit, streams
from bot.local.slack.arguments import Arguments
from bot.local.slack.errors import SlackError
from bot.local.slack.messages import Message
from bot.local.slack.people import BOT_USER_ID, JSON, Channel
from bot.local.slack.views import View, Views
from bot.local.slack.workspace import TEXT_CHARACTERS, Workspace, checked_metadata

UPDATE_CHARACTERS = 4_000
MARKDOWN_CHARACTERS = 12_000
_REACTION = re.compile(r"[a-z0-9_+'\-]{1,100}(::skin-tone-[2-6])?")


class ChatMethods:
    def __init__(self, workspace: Workspace, views: Views, base_url: str) -> None:
        self.workspace = workspace
        self.views = views
        self.base_url = base_url

    # -- chat

    def chat_postMessage(self, call: Arguments) -> JSON:
        channel = self._addressed(call.required("channel", missing="channel_not_found"))
        content = _content(call)
        content["metadata"] = checked_metadata(call.structure("metadata", invalid="invalid_metadata_format"))
        message = Message(channel.id, "", BOT_USER_ID, username=call.text("username"), **content)
        self.workspace.post(message, thread_ts=call.text("thread_ts"), broadcast=call.flag("reply_broadcast"))
        return self._posted(message)

    def chat_update(self, call: Arguments) -> JSON:
        message = self._own(call, refusal="cant_update_message")
        if streams.state(self.workspace, message) == "live":
            raise SlackError("streaming_state_conflict")
        text = call.values.get("text")
        if isinstance(text, str) and len(text) > UPDATE_CHARACTERS:
            raise SlackError("msg_too_long")
        changes = _content(call, needed="metadata" not in call.values)
        if text is None and "markdown_text" not in call.values:
            del changes["text"]
            if "blocks" not in call.values:  # neither text nor blocks: both stay as they were
                del changes["blocks"]
        if "attachments" not in call.values:
            del changes["attachments"]
        if "metadata" in call.values:
            changes["metadata"] = checked_metadata(call.structure("metadata", invalid="invalid_metadata_format"))
        if message.stream:
            message.stream.is_stopped = True
        marks = text is not None and not changes.get("blocks")
        self.workspace.edit(message, editor=BOT_USER_ID, mark_edited=marks, **changes)
        return self._posted(message) | {"text": message.text}

    def chat_delete(self, call: Arguments) -> JSON:
        message = self._own(call, refusal="cant_delete_message")
        self.workspace.delete(message)
        return {"channel": message.channel, "ts": message.ts}

    def chat_postEphemeral(self, call: Arguments) -> JSON:
        channel = self.workspace.joined(call.required("channel", missing="channel_not_found"), member=BOT_USER_ID)
        user = call.required("user", missing="user_not_found")
        if user not in channel.members:
            raise SlackError("user_not_in_channel")
        content = _content(call)
        whisper = {"channel": channel.id, "text": content["text"], "blocks": content["blocks"]}
        shown = self.workspace.whisper(user, whisper | {"thread_ts": call.text("thread_ts")})
        return {"message_ts": shown["ts"]}

    def chat_getPermalink(self, call: Arguments) -> JSON:
        channel = self.workspace.channel(call.required("channel", missing="channel_not_found"), reader=BOT_USER_ID)
        message = self.workspace.message(channel.id, call.required("message_ts", missing="message_not_found"))
        link = f"{self.base_url}/archives/{channel.id}/p{message.ts.replace('.', '')}"
        if message.is_reply:
            link += f"?thread_ts={message.thread_ts}&cid={channel.id}"
        return {"channel": channel.id, "permalink": link}

    # -- streams

    def chat_startStream(self, call: Arguments) -> JSON:
        message = streams.start(
            self.workspace,
            call.required("channel", missing="channel_not_found"),
            thread_ts=call.text("thread_ts"),
            recipient_user=call.text("recipient_user_id"),
            recipient_team=call.text("recipient_team_id"),
            markdown_text=_markdown(call),
            chunks=call.structure("chunks", invalid="invalid_chunks"),
        )
        return {"channel": message.channel, "ts": message.ts}

    def chat_appendStream(self, call: Arguments) -> JSON:
        message = streams.append(
            self.workspace,
            call.required("channel", missing="channel_not_found"),
            call.required("ts", missing="message_not_found"),
            markdown_text=_markdown(call),
            chunks=call.structure("chunks", invalid="invalid_chunks"),
        )
        return {"channel": message.channel, "ts": message.ts}

    def chat_stopStream(self, call: Arguments) -> JSON:
        message = streams.stop(
            self.workspace,
            call.required("channel", missing="channel_not_found"),
            call.required("ts", missing="message_not_found"),
            markdown_text=_markdown(call),
            chunks=call.structure("chunks", invalid="invalid_chunks"),
            blocks=call.structure("blocks", invalid="invalid_blocks_format"),
            metadata=call.structure("metadata", invalid="invalid_metadata_format"),
        )
        return self._posted(message)

    # -- reactions

    def reactions_add(self, call: Arguments) -> JSON:
        self.workspace.react(BOT_USER_ID, self._reacted(call), _reaction(call))
        return {}

    def reactions_remove(self, call: Arguments) -> JSON:
        self.workspace.react(BOT_USER_ID, self._reacted(call), _reaction(call), remove=True)
        return {}

    def reactions_get(self, call: Arguments) -> JSON:
        message = self._reacted(call)
        return {"type": "message", "channel": message.channel, "message": self.workspace.as_slack(message)}

    # -- views

    def views_open(self, call: Arguments) -> JSON:
        return _shown(self.views.open(call.required("trigger_id"), call.structure("view")))

    def views_push(self, call: Arguments) -> JSON:
        return _shown(self.views.push(call.required("trigger_id"), call.structure("view")))

    def views_update(self, call: Arguments) -> JSON:
        ids = {"view_id": call.text("view_id"), "external_id": call.text("external_id"), "hash": call.text("hash")}
        return _shown(self.views.update(call.structure("view"), **ids))

    def views_publish(self, call: Arguments) -> JSON:
        return _shown(self.views.publish(call.required("user_id"), call.structure("view"), call.text("hash")))

    # -- the status of a thread

    def assistant_threads_setStatus(self, call: Arguments) -> JSON:
        channel, thread_ts = self._thread(call)
        self.workspace.set_status(channel, thread_ts, text=call.text("status") or "")
        return {}

    def assistant_threads_setTitle(self, call: Arguments) -> JSON:
        channel, thread_ts = self._thread(call)
        self.workspace.set_status(channel, thread_ts, title=call.required("title"))
        return {}

    def assistant_threads_setSuggestedPrompts(self, call: Arguments) -> JSON:
        channel = self.workspace.joined(call.required("channel_id", missing="channel_not_found"), member=BOT_USER_ID)
        prompts = call.structure("prompts")
        if not isinstance(prompts, list) or not 0 < len(prompts) <= 4:
            raise SlackError("invalid_arguments")
        self.workspace.set_status(channel.id, call.text("thread_ts") or "", prompts=prompts)
        return {}

    def agents_sessions_setStatus(self, call: Arguments) -> JSON:
        raise SlackError("not_authorized")  # the app is a plain one, not declared an agent

    agents_sessions_rename = agents_sessions_setStatus

    # -- shared steps

    def _addressed(self, name: str) -> Channel:
        """The conversation that `channel` names: an id, a person (their direct message), or #name."""
        if name in self.workspace.users and name != BOT_USER_ID:
            return self.workspace.direct_message([name])
        by_name = (
            c.id for c in self.workspace.channels.values() if c.kind != "im" and f"#{c.name}" == f"#{name.lstrip('#')}"
        )
        known = name if name in self.workspace.channels else next(by_name, name)
        return self.workspace.joined(known, member=BOT_USER_ID)

    def _own(self, call: Arguments, *, refusal: str) -> Message:
        channel = self.workspace.channel(call.required("channel", missing="channel_not_found"), reader=BOT_USER_ID)
        message = self.workspace.message(channel.id, call.required("ts", missing="message_not_found"))
        if not message.is_by_bot:
            raise SlackError(refusal)
        return message

    def _reacted(self, call: Arguments) -> Message:
        channel = self.workspace.joined(call.required("channel", missing="channel_not_found"), member=BOT_USER_ID)
        return self.workspace.message(channel.id, call.required("timestamp", missing="message_not_found"))

    def _thread(self, call: Arguments) -> tuple[str, str]:
        channel = self.workspace.joined(call.required("channel_id", missing="channel_not_found"), member=BOT_USER_ID)
        message = self.workspace.message(
            channel.id, call.required("thread_ts", missing="invalid_thread_ts"), missing="invalid_thread_ts"
        )
        return channel.id, message.ts

    def _posted(self, message: Message) -> JSON:
        wire = self.workspace.as_slack(message, include_metadata=True)
        return {"channel": message.channel, "ts": message.ts, "message": wire}


def _content(call: Arguments, *, needed: bool = True) -> JSON:
    """Text, blocks and attachments of a call, weighed as Slack weighs them."""
    markdown = _markdown(call)
    text = call.text("text") or ""
    blocks = call.structure("blocks", invalid="invalid_blocks_format")
    attachments = call.structure("attachments", invalid="invalid_attachments") or []
    if markdown and (text or blocks):
        raise SlackError("markdown_text_conflict")
    if markdown:
        text, blocks = markdown, [{"type": "markdown", "text": markdown}]
    checked: list[JSON] = block_kit.checked(blocks) if blocks is not None else []
    if needed and not (text or checked or attachments):
        raise SlackError("no_text")
    content: dict[str, Any] = {"text": text[:TEXT_CHARACTERS], "blocks": checked}
    return content | {"attachments": attachments if isinstance(attachments, list) else [attachments]}


def _markdown(call: Arguments) -> str | None:
    markdown = call.text("markdown_text")
    if markdown and len(markdown) > MARKDOWN_CHARACTERS:
        raise SlackError("msg_too_long")
    return markdown


def _reaction(call: Arguments) -> str:
    name = call.required("name", missing="invalid_name").strip(":")
    if not _REACTION.fullmatch(name):
        raise SlackError("invalid_name")
    return name


def _shown(view: View) -> JSON:
    return {"view": view.as_slack()}
