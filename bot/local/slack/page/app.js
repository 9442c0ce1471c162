// Local Slack's page: who acts, which conversation and thread are open, and what is asked of the server when
// something changes. It draws with the modules beside it and talks to the control API only (see api.js).
//
// What tests may hold on to. Roles and names first:
//   navigation "Channels" with a link per conversation · combobox "Act as" · combobox "Message #help" (the composer;
//   in a thread "Reply in thread") · button "Send" · article per message · button "N replies" · region "Thread" with
//   button "Close thread" · group "Reactions" · toolbar "Message" with button "More" → menu · dialog by its title ·
//   button "Dark colours" (pressed or not) · tab "Messages" and tab "Home" in the direct message with the bot.
// and data-testid: channels, act-as, channel, thread, messages, message (data-ts), composer, replies, reaction,
//   feedback-up, feedback-down, source (a link in a block that begins with "Sources"), status, modal, home.
// Address: /?as=U0MAYA#C0HELP/1700000000.000100 is a person, a conversation and a thread.

import { follow, get, oneAtATime, post } from "./api.js";
import { renderBlocks } from "./blocks.js";
import { makeComposer } from "./composer.js";
import { avatar, h, icon, iconButton } from "./dom.js";
import { dots, showMessages } from "./messages.js";
import { openModal, readInputs, writeInputs } from "./modal.js";
import { ABOUT, KINDS, loadState, names, page, ROLES, shownTitle, signOf, titleOf, visibleChannels } from "./state.js";
import { encode, plain } from "./text.js";

const $ = (id) => document.getElementById(id);

// ---- loading -----------------------------------------------------------------------------------------------

const loadChannel = oneAtATime(async () => {
  const channel = page.channel;
  if (!channel) return;
  const { messages } = await get("history", { channel: channel.id });
  if (channel !== page.channel) return;
  page.messages = messages;
  drawMessages();
});

const loadThread = oneAtATime(async () => {
  const { channel, thread } = page;
  if (!thread) return;
  const { messages } = await get("thread", { channel: channel.id, ts: thread }).catch((error) => {
    if (error.message !== "thread_not_found") throw error;
    return { messages: [] };
  });
  if (thread !== page.thread) return;
  if (!messages.length) { notice("This thread is no longer there."); return closeThread(); }
  page.replies = messages;
  drawReplies();
});

const loadSeen = oneAtATime(async () => {
  const me = page.me;
  const seen = await get("seen", { user: me });
  if (me !== page.me) return;
  page.seen = seen;
  drawMessages();
  drawReplies();
  drawModals();
});

const loadHome = oneAtATime(async () => {
  if (page.tab !== "home") return;
  const { view } = await get("home", { user: page.me });
  drawHome(view);
});

async function loadStatus(thread) {
  const channel = page.channel;
  const { text } = await get("status", { channel: channel.id, thread_ts: thread });
  page.statuses.set(`${channel.id}/${thread}`, text);
  if (channel !== page.channel) return;
  drawMessages();
  drawStatus();
}

// ---- what changed ------------------------------------------------------------------------------------------

function changed(change) {
  if (!page.me) return;
  if (change.kind === "members") report(loadState().then(go));
  else if (change.kind === "status") {
    if (change.channel === page.channel?.id) report(loadStatus(change.thread_ts));
  } else if (change.kind === "home") {
    if (change.user === page.me) report(loadHome());
  } else if (change.kind) {
    if (change.user === page.me) report(loadSeen());
  } else if (change.channel !== page.channel?.id) {
    if (!page.channels.has(change.channel)) return report(loadState().then(drawSidebar));
    page.unread.add(change.channel);
    drawSidebar();
  } else {
    report(loadChannel());
    if (page.thread && (change.thread_ts === page.thread || change.ts === page.thread)) report(loadThread());
  }
}

// What is there is asked for once the stream of changes is open, so that nothing falls between the two.
function online(isOnline) {
  $("offline").hidden = isOnline;
  if (isOnline) report(loadState().then(go));
}

// ---- where one is ------------------------------------------------------------------------------------------

function go() {
  const people = [...page.users.values()].filter((user) => user.role in ROLES);
  const query = new URLSearchParams(location.search);
  const asked = query.get("as");
  if (query.has("channel")) history.replaceState(null, "", `?${asked ? new URLSearchParams({ as: asked }) : ""}#${query.get("channel")}/${query.get("ts") ?? ""}`); // a permalink
  const me = people.find(({ id }) => id === asked) ?? people.find(({ role }) => role === "member") ?? people[0];
  if (page.me !== me.id) Object.assign(page, { me: me.id, seen: { ephemerals: [], modals: [] }, editing: null });
  const [id, thread] = location.hash.slice(1).split("/");
  const channels = visibleChannels();
  const channel = channels.find((known) => known.id === id) ?? channels[0];
  const isElsewhere = channel?.id !== page.channel?.id;
  const wanted = channel?.id === id && thread ? thread : null;
  if (wanted !== page.thread) page.replies = [];
  Object.assign(page, { channel, thread: wanted });
  if (isElsewhere) Object.assign(page, { messages: [], tab: "messages", editing: null });
  if (isElsewhere && channel?.kind === "im") report(post("open_home", { user: me.id, tab: "messages" }));
  page.unread.delete(channel?.id);
  hideChannels();
  drawSidebar();
  drawChannel();
  drawThread();
  return Promise.all([loadChannel(), loadThread(), loadSeen(), page.thread && loadStatus(page.thread)]);
}

const open = (channel, thread) => { location.hash = thread ? `${channel}/${thread}` : channel; };

function actAs(id) {
  const query = new URLSearchParams({ as: id });
  history.replaceState(null, "", `?${query}${location.hash}`);
  report(go());
}

// ---- doing -------------------------------------------------------------------------------------------------

/** Shows what went wrong for a while, and passes it on as an answer, so that callers need not catch it. */
async function report(promise) {
  try { return await promise; } catch (error) {
    notice(error.message);
    return null;
  }
}

function notice(text) {
  const shown = h("p", {}, text.replaceAll("_", " "));
  $("notices").append(shown);
  setTimeout(() => shown.remove(), 6000);
}

async function send(text, thread) {
  const { me: user, channel: { id: channel } } = page;
  const [, command, rest] = /^(\/\S+)\s*([\s\S]*)$/.exec(text) ?? [];
  const isCommand = page.commands.some((known) => known.command === command);
  try {
    if (isCommand && thread) throw new Error("Slash commands work in the channel, not in a thread.");
    if (isCommand) await post("command", { user, channel, command, text: encode(rest, names) });
    else await post("message", { user, channel, text: encode(text, names), ...(thread && { thread_ts: thread }) });
  } catch (error) {
    notice(error.message);
    throw error;
  }
}

// What somebody began to write somewhere is still there when they come back.
const drafts = new Map();
function draft(place) {
  const key = `${page.me} ${place}`;
  return { get: () => drafts.get(key) ?? "", set: (text) => drafts.set(key, text) };
}

// The bot has three seconds to say that it got what a person did; the server tells when it did not.
function acknowledged(answer) {
  if (answer.outcome && answer.outcome !== "acknowledged") throw new Error(`The app did not answer: ${answer.outcome}`);
  return answer;
}

const press = (where, part, value) =>
  report(post("press", { user: page.me, ...where, action_id: part.action_id, ...(value && { value }) }).then(acknowledged));

const pressedKey = (message) => `pressed ${page.me} ${page.channel.id} ${message.ts}`;
const pressed = (message) => JSON.parse(sessionStorage.getItem(pressedKey(message)) ?? "null");

const act = {
  react: (message, name, isMine) => report(post("react", { user: page.me, channel: page.channel.id, ts: message.ts, name, ...(isMine && { remove: true }) })),
  openThread: (message) => open(page.channel.id, message.thread_ts ?? message.ts),
  startEdit(message) { page.editing = message?.ts ?? null; drawMessages(); drawReplies(); },
  edit(message, text) {
    act.startEdit(null);
    return report(post("edit", { user: page.me, channel: page.channel.id, ts: message.ts, text: encode(text.trim(), names) }));
  },
  remove: (message) => report(post("delete", { user: page.me, channel: page.channel.id, ts: message.ts })),
  shortcut: (message, { callback_id }) => report(post("shortcut", { user: page.me, channel: page.channel.id, ts: message.ts, callback_id }).then(acknowledged)),
  async press(message, part, value) {
    if (part.type === "feedback_buttons") {
      sessionStorage.setItem(pressedKey(message), JSON.stringify({ ...pressed(message), [part.action_id]: value }));
      drawMessages();
      drawReplies();
    }
    await press({ channel: page.channel.id, ts: message.ts }, part, value);
  },
};

// ---- drawing -----------------------------------------------------------------------------------------------

function drawSidebar() {
  const groups = KINDS.map(([kind, title, sign]) => {
    const channels = visibleChannels().filter((channel) => channel.kind === kind);
    return channels.length > 0 && h("section", { "aria-labelledby": `kind-${kind}` }, h("h2", { id: `kind-${kind}` }, title),
      h("ul", {}, channels.map((channel) => h("li", {}, h("a", {
        href: `#${channel.id}`, "aria-current": channel === page.channel ? "page" : null, class: page.unread.has(channel.id) ? "unread" : null,
      }, icon(sign), h("span", {}, titleOf(channel)), page.unread.has(channel.id) && h("span", { class: "unread-dot", role: "img", "aria-label": "new messages" }))))));
  });
  const focused = document.activeElement?.closest("#channels a")?.getAttribute("href");
  $("channels").replaceChildren(...groups.filter(Boolean));
  if (focused) $("channels").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  $("act-as").replaceChildren(...Object.entries(ROLES).map(([role, title]) => h("optgroup", { label: title },
    [...page.users.values()].filter((user) => user.role === role).map((user) => h("option", { value: user.id, selected: user.id === page.me }, user.name)))));
  $("acting-role").textContent = ROLES[names.user(page.me).role];
  $("acting-avatar").replaceChildren(avatar(names.user(page.me)));
}

function drawChannel() {
  const { channel } = page;
  if (!channel) {
    delete $("channel").dataset.shown;
    return $("channel").replaceChildren(h("p", { class: "empty" }, "This person is in no channel."));
  }
  const title = titleOf(channel);
  const key = JSON.stringify([page.me, page.tab, channel]);
  if ($("channel").dataset.shown === key) return drawMessages();
  $("channel").dataset.shown = key;
  const isWithBot = channel.kind === "im";
  const isMember = channel.members.includes(page.me);
  document.title = `${title} · Local Slack`;
  const count = `${channel.members.length} members`;
  const parts = [
    h("header", { class: "column-head" },
      iconButton("menu", "Channels", showChannels, { class: "icon-button only-phone", id: "show-channels" }),
      h("div", { class: "column-title" },
        h("h2", {}, icon(signOf(channel)), title),
        h("p", { class: "muted" }, isWithBot ? "Direct message with the app" : `${ABOUT[channel.kind]} · ${count}`)),
      isWithBot && h("div", { class: "tabs", role: "tablist", "aria-label": "App" }, tab("messages", "Messages"), tab("home", "Home"))),
  ];
  if (page.tab === "home") parts.push(h("div", { class: "scroll", id: "home", role: "tabpanel", "aria-label": "Home", "data-testid": "home", tabindex: "0" }));
  else {
    parts.push(h("div", { class: "scroll", id: "scroll" }, h("div", { class: "messages", id: "messages", role: "log", "aria-label": `Messages in ${title}`, "data-testid": "messages" })));
    const label = `Message ${shownTitle(channel)}`;
    parts.push(isMember
      ? makeComposer({ id: "composer", label, placeholder: label, draft: draft(channel.id), send: (text) => send(text), offers: { ...offers, commands: () => page.commands } })
      : h("p", { class: "composer not-member" }, `${names.user(page.me).name} is not a member of this channel and can only read it.`));
  }
  $("channel").replaceChildren(...parts);
  return drawMessages();
}

function tab(name, label) {
  const choose = () => {
    page.tab = name;
    drawChannel();
    $("channel").querySelector("[role=tab][aria-selected=true]").focus();
    if (name === "home") report(post("open_home", { user: page.me, tab: "home" }).then(loadHome));
    else report(loadChannel());
  };
  const onkeydown = (event) => { if (["ArrowLeft", "ArrowRight"].includes(event.key)) event.currentTarget.parentElement.querySelector("[aria-selected=false]").click(); };
  return h("button", { type: "button", role: "tab", "aria-selected": String(page.tab === name), tabindex: page.tab === name ? "0" : "-1", onclick: choose, onkeydown }, label);
}

const offers = {
  people() {
    const members = page.channel.members;
    const rank = (user) => (user.isBot ? 0 : members.includes(user.id) ? 1 : 2);
    return names.people().filter(({ id, role }) => id !== page.me && role !== "slackbot").sort((one, other) => rank(one) - rank(other))
      .map((user) => ({ ...user, note: [user.badge, !members.includes(user.id) && "not in this channel"].filter(Boolean).join(" · ") }));
  },
  channels: () => visibleChannels().filter(({ kind }) => !["im", "mpim"].includes(kind)).map((channel) => ({ name: channel.name, note: ABOUT[channel.kind] })),
};

function listContext(inThread) {
  const channel = page.channel.id;
  return {
    names, me: page.me, inThread, editing: page.editing, act, pressed, shortcuts: page.shortcuts,
    statusOf: (message) => (inThread ? "" : sentence(page.statuses.get(`${channel}/${message.ts}`))),
  };
}

const sentence = (status) => (status ? `${page.bot.name} ${plain(status)}` : "");

function withEphemerals(messages, thread) {
  const mine = page.seen.ephemerals.filter((one) => one.channel === page.channel.id && (one.thread_ts ?? null) === thread);
  return [...messages, ...mine.map((one) => ({ user: page.bot.id, ...one, ephemeral: true }))].sort((one, other) => one.ts - other.ts);
}

function drawMessages() {
  const list = $("messages");
  if (!list) return;
  const messages = withEphemerals(page.messages, null);
  keepingPlace($("scroll"), () => {
    showMessages(list, messages, listContext(false));
    if (!messages.length) list.replaceChildren(beginning());
  });
}

function beginning() {
  const { channel, bot } = page;
  const text = channel.kind === "im" ? `Ask ${bot.name} anything here. Only the two of you can read it.`
    : channel.members.includes(bot.id) ? `Write @${bot.name} and a question to ask it here.` : `${bot.name} is not in this channel.`;
  return h("div", { class: "beginning" }, icon(signOf(channel)), h("h3", {}, `This is the beginning of ${shownTitle(channel)}`), h("p", { class: "muted" }, text));
}

function drawThread() {
  const { thread, channel } = page;
  const section = $("thread");
  const wasHidden = section.hidden;
  section.hidden = !thread;
  document.body.classList.toggle("with-thread", Boolean(thread));
  if (!thread) return section.replaceChildren();
  const key = `${page.me} ${channel.id} ${thread}`;
  if (section.dataset.shown === key && !wasHidden) return drawReplies();
  section.dataset.shown = key;
  const isMember = channel.members.includes(page.me);
  section.replaceChildren(
    h("header", { class: "column-head" },
      h("div", { class: "column-title" }, h("h2", {}, "Thread"), h("p", { class: "muted" }, shownTitle(channel))),
      iconButton("close", "Close thread", closeThread)),
    h("div", { class: "scroll", id: "thread-scroll" },
      h("div", { class: "messages", id: "replies", role: "log", "aria-label": "Replies", "data-testid": "messages" }),
      h("p", { class: "status", id: "thread-status", role: "status", "data-testid": "status", hidden: true })),
    isMember ? makeComposer({ id: "thread-composer", label: "Reply in thread", placeholder: "Reply…", draft: draft(`${channel.id}/${thread}`), send: (text) => send(text, thread), offers }) : "");
  if (wasHidden && matchMedia("(hover: hover)").matches) $("thread-composer")?.focus(); // no keyboard over a phone's thread
  return drawReplies();
}

function showChannels() {
  document.body.classList.add("with-channels");
  for (const column of ["channel", "thread"]) $(column).inert = true;
  ($("channels").querySelector("[aria-current]") ?? $("act-as")).focus();
}

function hideChannels() {
  if (!document.body.classList.contains("with-channels")) return false;
  document.body.classList.remove("with-channels");
  for (const column of ["channel", "thread"]) $(column).inert = false;
  $("show-channels")?.focus();
  return true;
}

function closeThread() {
  const from = page.thread;
  open(page.channel.id);
  queueMicrotask(() => $("messages")?.querySelector(`[data-ts="${CSS.escape(from)}"]`)?.focus());
}

function drawReplies() {
  const list = $("replies");
  if (!list || !page.thread) return;
  keepingPlace($("thread-scroll"), () => {
    showMessages(list, withEphemerals(page.replies, page.thread), listContext(true));
    drawStatus();
  });
}

function drawStatus() {
  const place = $("thread-status");
  if (!place || !page.thread) return;
  const text = sentence(page.statuses.get(`${page.channel.id}/${page.thread}`));
  place.hidden = !text;
  if (place.textContent !== text) place.replaceChildren(dots(), text);
}

// A reader at the end stays at the end; one who has scrolled up is left where he or she is.
function keepingPlace(scroll, draw) {
  const isAtEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  draw();
  if (isAtEnd) scroll.scrollTop = scroll.scrollHeight;
}

function drawHome(view) {
  const context = { names, pressed: () => null, press: (part, value) => press({ view_id: view.id }, part, value) };
  $("home")?.replaceChildren(h("div", { class: "home" }, view ? renderBlocks(view.blocks, context) : h("p", { class: "empty" }, `${page.bot.name} shows nothing here yet.`)));
}

function drawModals() {
  const { me: user, seen: { modals } } = page;
  for (const shown of document.querySelectorAll("dialog[data-view]")) {
    if (!modals.some(({ view_id }) => view_id === shown.dataset.view)) shown.close();
  }
  for (const { view_id, view } of modals) {
    const shown = document.querySelector(`dialog[data-view="${CSS.escape(view_id)}"]`);
    if (shown?.dataset.hash === view.hash) continue;
    const context = { names, pressed: () => null, press: (part, value) => press({ view_id }, part, value) };
    const dialog = openModal(view, context, {
      close: () => report(post("close_view", { user, view_id })),
      submit: (values) => report(post("submit", { user, view_id, values }).then(acknowledged)),
    });
    dialog.dataset.hash = view.hash;
    if (shown) { writeInputs(dialog, readInputs(shown)); shown.close(); }
  }
}

// ---- colours, keys, start ------------------------------------------------------------------------------------

function colours(theme) {
  const isDark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  if (theme) document.documentElement.dataset.theme = theme;
  $("theme").replaceChildren(icon(isDark ? "sun" : "moon"));
  for (const [name, value] of Object.entries({ "aria-label": "Dark colours", "aria-pressed": String(isDark), title: isDark ? "Light colours" : "Dark colours" })) $("theme").setAttribute(name, value);
  return isDark;
}

let isDark = colours(localStorage.getItem("theme"));
$("theme").addEventListener("click", () => {
  const theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", theme);
  isDark = colours(theme);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { isDark = colours(localStorage.getItem("theme")); });
$("act-as").addEventListener("change", (event) => actAs(event.target.value));
addEventListener("hashchange", () => report(go()));
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open], [popover]:popover-open")) return;
  if (!hideChannels() && page.thread) closeThread();
});
$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names a conversation
  ($("composer") ?? $("thread-composer"))?.focus();
});
$("veil").addEventListener("click", hideChannels);

follow(changed, online);
