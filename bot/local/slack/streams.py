"""Messages that are written while they are read: chat.startStream, appendStream, stopStream.

The states are Slack's: a stream lives until it is stopped or its time is over (five minutes from its start, which
appends do not prolong); then it takes nothing more, and only chat.update helps. Blocks and metadata come with the
stop.
"""

from __future__ import annotations

from typing import Any

from bot.local.slack import block_kit
from bot.local.slack.errors import SlackError
from bot.local.slack.messages import Message, Stream
from bot.local.slack.people import BOT_USER_ID, JSON
from bot.local.slack.workspace import Workspace, checked_metadata

MARKDOWN_CHARACTERS = 12_000


def state(workspace: Workspace, message: Message) -> str | None:
    """`live`, `stopped`, `expired` (never stopped, its time is over), or None for what is no stream."""
    if message.stream is None:
        return None
    if message.stream.is_stopped:
        return "stopped"
    is_over = workspace.clock() - message.stream.started_at >= workspace.stream_life_s
    return "expired" if is_over else "live"


def start(
    workspace: Workspace,
    channel_id: str,
    *,
    thread_ts: str | None,
    recipient_user: str | None,
    recipient_team: str | None,
    markdown_text: str | None,
    chunks: Any,
) -> Message:
    """Begin a message that grows in a thread."""
    channel = workspace.joined(channel_id, member=BOT_USER_ID)
    if not thread_ts:
        raise SlackError("invalid_thread_ts")
    if channel.kind != "im" or recipient_user or recipient_team:
        if not recipient_user:
            raise SlackError("missing_recipient_user_id")
        if not recipient_team:
            raise SlackError("missing_recipient_team_id")
        workspace.user(recipient_user)
    stream = Stream(started_at=workspace.clock())
    message = Message(channel.id, "", BOT_USER_ID, "", stream=stream)
    _add(message, stream, markdown_text, chunks)
    return workspace.post(message, thread_ts=thread_ts)


def append(workspace: Workspace, channel_id: str, ts: str, *, markdown_text: str | None, chunks: Any) -> Message:
    """Add to a live stream."""
    message, stream = _live(workspace, channel_id, ts)
    if not markdown_text and not chunks:
        raise SlackError("markdown_text_or_chunks_required")
    _add(message, stream, markdown_text, chunks)
    workspace.on_change({"channel": message.channel, "ts": message.ts, "thread_ts": message.thread_ts})
    return message


def stop(
    workspace: Workspace,
    channel_id: str,
    ts: str,
    *,
    markdown_text: str | None,
    chunks: Any,
    blocks: Any,
    metadata: Any,
) -> Message:
    """Finish a live stream; only now do its blocks and its metadata exist."""
    message, stream = _live(workspace, channel_id, ts)
    if isinstance(blocks, list) and len(blocks) > block_kit.MESSAGE_BLOCKS:
        raise SlackError("msg_blocks_too_many")
    closing = block_kit.checked(blocks) if blocks is not None else []
    metadata = checked_metadata(metadata)
    _add(message, stream, markdown_text, chunks)
    stream.is_stopped = True
    workspace.edit(message, editor=BOT_USER_ID, mark_edited=False, blocks=[*stream.parts, *closing], metadata=metadata)
    return message


def _live(workspace: Workspace, channel_id: str, ts: str) -> tuple[Message, Stream]:
    channel = workspace.joined(channel_id, member=BOT_USER_ID)
    message = workspace.message(channel.id, ts)
    if not message.is_by_bot:
        raise SlackError("message_not_owned_by_app")
    if message.stream is None or state(workspace, message) != "live":
        raise SlackError("message_not_in_streaming_state")
    return message, message.stream


def _add(message: Message, stream: Stream, markdown_text: str | None, chunks: Any) -> None:
    """Weigh everything first, so that a refused call leaves no half of itself behind."""
    if markdown_text and chunks:
        raise SlackError("cannot_provide_both_markdown_text_and_chunks")
    if chunks is not None and not (isinstance(chunks, list) and all(isinstance(chunk, dict) for chunk in chunks)):
        raise SlackError("invalid_chunks")
    if not markdown_text and not chunks:
        return
    mode = stream.mode or ("markdown_text" if markdown_text else "chunks")
    if (mode == "markdown_text") != bool(markdown_text):
        raise SlackError("streaming_mode_mismatch")
    pieces = [_piece(chunk) for chunk in chunks or [{"type": "markdown_text", "text": markdown_text}]]
    stream.mode = mode
    for piece in pieces:
        _join(message, stream, piece)


def _piece(chunk: JSON) -> JSON:
    kind = chunk.get("type")
    if kind == "markdown_text" and isinstance(chunk.get("text"), str):
        if len(chunk["text"]) > MARKDOWN_CHARACTERS:
            raise SlackError("msg_too_long")
        return {"type": "markdown", "text": chunk["text"]}
    if kind == "task_update" and isinstance(chunk.get("id"), str) and isinstance(chunk.get("title"), str):
        task: JSON = {k: chunk[k] for k in ("title", "status", "details", "output", "sources") if k in chunk}
        return {"type": "task_card", "task_id": chunk["id"], **task}
    if kind == "plan_update" and isinstance(chunk.get("title"), str):
        return {"type": "plan", "title": chunk["title"]}
    if kind == "blocks":
        return {"type": "blocks", "blocks": block_kit.checked(chunk.get("blocks"))}
    raise SlackError("invalid_chunks")


def _join(message: Message, stream: Stream, piece: JSON) -> None:
    last = stream.parts[-1] if stream.parts else None
    if piece["type"] == "markdown":
        message.text += piece["text"]
        if last and last["type"] == "markdown":
            last["text"] += piece["text"]
        else:
            stream.parts.append(piece)
    elif piece["type"] == "blocks":
        stream.parts += piece["blocks"]
    else:
        same = ("task_id", piece["task_id"]) if piece["type"] == "task_card" else ("type", "plan")
        for part in stream.parts:
            if part.get(same[0]) == same[1]:
                details = str(part.get("details") or "") + str(piece.get("details") or "")
                part.update(piece, **({"details": details} if details else {}))
                return
        stream.parts.append(piece)
