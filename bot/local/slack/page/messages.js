// A list of messages: who, when, what, the reactions, the way into the thread. A message is built again only when
// something in it changed, so that focus, selection and the reader's place stay where they are.

import { askFirst, avatar, h, icon, iconButton, menuItem, openMenu } from "./dom.js";
import { renderBlocks } from "./blocks.js";
import { decode, emoji, markdown, mrkdwn } from "./text.js";

const QUICK = ["+1", "-1", "eyes", "tada", "heart", "white_check_mark"];
const DIRECT = ["+1", "-1", "eyes"];
const GROUPED_WITHIN_S = 300;

const clock = (ts) => new Date(ts * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const dayOf = (ts) => new Date(ts * 1000).toDateString();

function dayName(ts) {
  if (dayOf(ts) === new Date().toDateString()) return "Today";
  return new Date(ts * 1000).toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
}

/**
 * Shows `messages` in `list`. `context` is `{names, me, channel, inThread, editing, statusOf(message), pressed(message, actionId),
 * act: {react, press, openThread, startEdit, edit, remove, shortcut}, shortcuts}`.
 */
export function showMessages(list, messages, context) {
  const before = new Map([...list.children].map((child) => [child.dataset.key, child]));
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const focusedIn = focused?.closest("[data-key].message, [data-key].day")?.dataset.key;
  const focusKey = focused?.dataset.key;
  const wanted = [];
  let previous = null;
  const keep = (key, signature, build) => {
    let element = before.get(key);
    if (element?.signature !== signature) {
      element = build();
      element.dataset.key = key;
      element.signature = signature;
    }
    wanted.push(element);
  };
  for (const message of messages) {
    if (!previous || dayOf(previous.ts) !== dayOf(message.ts)) {
      const name = dayName(message.ts);
      keep(`day ${dayOf(message.ts)}`, name, () => h("div", { class: "day", role: "separator" }, h("span", {}, name)));
      previous = null;
    }
    const isGrouped = Boolean(previous) && previous.user === message.user && !previous.ephemeral && !message.ephemeral
      && !previous.reply_count && message.ts - previous.ts < GROUPED_WITHIN_S;
    const view = { ...context, isGrouped, isEditing: context.editing === message.ts, status: context.statusOf(message) };
    const signature = JSON.stringify([message, isGrouped, view.isEditing, view.status, context.me, context.pressed(message)]);
    keep(`${message.ephemeral ? "only-you " : ""}${message.ts}`, signature, () => messageElement(message, view));
    previous = message;
  }
  for (const element of before.values()) if (!wanted.includes(element)) element.remove();
  wanted.forEach((element, index) => { if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null); });
  if (focused && !list.contains(document.activeElement) && focusedIn) {
    const again = wanted.find((element) => element.dataset.key === focusedIn);
    ((focusKey && again?.querySelector(`[data-key="${CSS.escape(focusKey)}"]`)) ?? again)?.focus({ preventScroll: true });
  }
}

function messageElement(message, context) {
  const author = context.names.author(message);
  const time = h("time", { datetime: new Date(message.ts * 1000).toISOString(), title: new Date(message.ts * 1000).toLocaleString() }, clock(message.ts));
  const article = h("article", {
    class: `message${context.isGrouped ? " message-grouped" : ""}${message.ephemeral ? " message-ephemeral" : ""}`, tabindex: "0",
    "aria-label": `${author.name}, ${clock(message.ts)}`, "aria-busy": message.streaming ? "true" : null, "data-testid": "message", "data-ts": message.ts,
    onkeydown: (event) => onKey(event, message, context),
  },
    h("div", { class: "margin" }, context.isGrouped ? time : avatar(author)),
    h("div", { class: "body" },
      !context.isGrouped && h("header", {},
        h("span", { class: "author" }, author.name), author.badge && h("span", { class: "badge" }, author.badge), time),
      message.ephemeral && h("p", { class: "only-you" }, icon("eye"), "Only visible to you"),
      context.isEditing ? editor(message, context) : content(message, context),
      reactions(message, context),
      footer(message, context)),
    !message.ephemeral && !context.isEditing && tools(message, context));
  return article;
}

function content(message, context) {
  const blockContext = {
    names: context.names,
    press: (part, value) => context.act.press(message, part, value),
    pressed: (actionId) => context.pressed(message)?.[actionId],
  };
  const [text, blocks] = written(message, context.names);
  const body = h("div", { class: "content" }, text, renderBlocks(blocks, blockContext));
  for (const block of body.querySelectorAll(".block, .sources")) {
    if (block.matches(".sources") || block.textContent.startsWith("Sources")) for (const link of block.querySelectorAll("a")) link.dataset.testid = "source";
  }
  if (message.streaming) lastText(body).append(h("span", { class: "caret", "aria-label": "still writing" }));
  if (message.edited) body.append(h("span", { class: "edited" }, "(edited)"));
  return body;
}

// What a person typed is mrkdwn, whatever blocks their client made of it; a stream is Markdown until its blocks are
// there; else a message's text is only the fallback of its blocks.
function written(message, names) {
  if (!message.bot_id && !message.ephemeral) return [mrkdwn(message.text ?? "", names), []];
  if (message.blocks?.length) return [[], message.blocks];
  return [(message.stream ? markdown : mrkdwn)(message.text ?? "", names), []];
}

// Where the caret of a stream goes: the end of the last paragraph or list item.
function lastText(body) {
  let last = body;
  while (last.lastElementChild?.matches("p, ul, ol, li, blockquote, .block")) last = last.lastElementChild;
  return last;
}

function reactions(message, context) {
  if (!message.reactions?.length) return null;
  return h("div", { class: "reactions", role: "group", "aria-label": "Reactions" }, message.reactions.map(({ name, users }) => {
    const isMine = users.includes(context.me);
    const people = users.map((id) => context.names.user(id).name).join(", ");
    return h("button", {
      type: "button", class: "reaction", "aria-pressed": String(isMine), "aria-label": `${name}, ${users.length}, by ${people}`, title: people,
      "data-testid": "reaction", "data-key": `reaction ${name}`, onclick: () => context.act.react(message, name, isMine),
    }, h("span", {}, emoji(name)), h("span", { class: "count" }, users.length));
  }));
}

function footer(message, context) {
  if (context.inThread || message.ephemeral) return null;
  const label = message.reply_count ? `${message.reply_count} ${message.reply_count === 1 ? "reply" : "replies"}` : null;
  return [
    label && h("button", { type: "button", class: "replies", "data-testid": "replies", "data-key": "replies", onclick: () => context.act.openThread(message) },
      icon("reply"), h("span", {}, label), message.latest_reply && h("span", { class: "muted" }, clock(message.latest_reply)), icon("chevron")),
    context.status && h("p", { class: "status" }, dots(), `${context.status}`),
  ];
}

/** Three dots that breathe, before a status. */
export const dots = () => h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i"));

function tools(message, context) {
  const { act } = context;
  const isMine = message.user === context.me;
  const more = (event) => openMenu(event.currentTarget, "Message",
    h("div", { class: "menu-row" }, QUICK.map((name) => menuItem(emoji(name), () => act.react(message, name, hasReacted(message, name, context.me)), { "aria-label": `React with ${name}`, title: name }))),
    !context.inThread && menuItem("Reply in thread", () => act.openThread(message)),
    context.shortcuts.map((shortcut) => menuItem(shortcut.name, () => act.shortcut(message, shortcut))),
    isMine && menuItem("Edit message", () => act.startEdit(message)),
    isMine && menuItem("Delete message", () => askFirst("Delete this message?", "It is taken away for everybody.", "Delete", "Cancel", () => act.remove(message)), { class: "danger" }));
  return h("div", { class: "tools", role: "toolbar", "aria-label": "Message" },
    DIRECT.map((name) => h("button", {
      type: "button", class: "icon-button tool-quick", "aria-label": `React with ${name}`, title: `React with :${name}:`,
      onclick: () => act.react(message, name, hasReacted(message, name, context.me)),
    }, emoji(name))),
    !context.inThread && iconButton("reply", "Reply in thread", () => act.openThread(message), { class: "icon-button tool-quick" }),
    iconButton("more", "More", more, { "aria-haspopup": "menu", "data-key": "more" }));
}

const hasReacted = (message, name, me) => Boolean(message.reactions?.find((reaction) => reaction.name === name)?.users.includes(me));

function editor(message, { names, act }) {
  const text = h("textarea", { class: "input", rows: "3", "aria-label": "Edit message" }, decode(message.text, names));
  const save = () => act.edit(message, text.value);
  text.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") act.startEdit(null);
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); save(); }
  });
  queueMicrotask(() => { text.focus(); text.setSelectionRange(text.value.length, text.value.length); });
  return h("div", { class: "editor" }, text, h("footer", {},
    h("button", { type: "button", class: "button", onclick: () => act.startEdit(null) }, "Cancel"),
    h("button", { type: "button", class: "button button-primary", onclick: save }, "Save")));
}

function onKey(event, message, context) {
  if (event.target !== event.currentTarget) return;
  const near = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (near) {
    event.preventDefault();
    let next = event.currentTarget[near];
    while (next && !next.matches(".message")) next = next[near];
    next?.focus();
  } else if (event.key === "Enter" && !context.inThread && !message.ephemeral) context.act.openThread(message);
}
