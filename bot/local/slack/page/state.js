// What the page knows: who acts, where, and what the server told; and the names that follow from it.

import { get } from "./api.js";

/** The kinds of conversation in the order of the sidebar: kind, heading, sign. */
export const KINDS = [
  ["public", "Channels", "hash"], ["private", "Private", "lock"], ["shared", "Shared externally", "shared"],
  ["mpim", "Group", "group"], ["im", "Direct message", "direct"],
];

/** What is said of a conversation below its name. */
export const ABOUT = { public: "Public", private: "Private", shared: "Shared with another organisation", mpim: "Group message", im: "Direct message" };

/** The roles that one can act as. */
export const ROLES = { admin: "Admin", member: "Member", guest: "Guest", external: "External" };

/** The one state of this page; app.js alone changes it. */
export const page = {
  users: new Map(), channels: new Map(), commands: [], shortcuts: [], bot: null, me: null, channel: null, thread: null, tab: "messages",
  messages: [], replies: [], seen: { ephemerals: [], modals: [] }, statuses: new Map(), editing: null, unread: new Set(),
};

/** Who and what an id is, as the person who acts sees it. */
export const names = {
  get me() { return page.me; },
  user: (id) => page.users.get(id) ?? { id: id ?? "", name: id ?? "Somebody" },
  channel: (id) => page.channels.get(id),
  channelNamed: (name) => visibleChannels().find((channel) => channel.name === name),
  people: () => [...page.users.values()],
  author(message) {
    const user = page.users.get(message.user) ?? (message.bot_id ? page.bot : null);
    return user ? { ...user, name: message.username ?? user.name } : { id: message.user ?? "", name: message.username ?? "Somebody" };
  },
};

/** Where the person who acts may be: member, or public and no guest. */
export function visibleChannels() {
  const isStaff = ["admin", "member"].includes(page.users.get(page.me)?.role);
  return [...page.channels.values()].filter(({ kind, members }) => members.includes(page.me) || (kind === "public" && isStaff));
}

/** A conversation's name; for direct messages whom they are with. */
export function titleOf({ kind, name, members }) {
  const others = members.filter((id) => id !== page.me).map((id) => names.user(id).name);
  return kind === "im" || kind === "mpim" ? others.join(", ") : name;
}

/** The same with its # where it has one. */
export const shownTitle = (channel) => (["im", "mpim"].includes(channel.kind) ? titleOf(channel) : `#${channel.name}`);
/** The sign before a conversation's name. */
export const signOf = (channel) => KINDS.find(([kind]) => kind === channel.kind)?.[2] ?? "hash";

/** Asks the server who is there, where they talk, and which commands they have. */
export async function loadState() {
  const [state, known] = await Promise.all([get("state"), get("commands")]);
  const botId = state.bot.user_id ?? state.bot.id;
  page.users = new Map(state.users.map((user) => [user.id, { ...user, isBot: user.id === botId, badge: badgeOf(user, botId) }]));
  if (!page.users.has(botId)) page.users.set(botId, { id: botId, name: state.bot.name, isBot: true, badge: "App" });
  page.bot = page.users.get(botId);
  page.channels = new Map(state.channels.map((channel) => [channel.id, channel]));
  page.commands = known.commands;
  page.shortcuts = known.shortcuts;
}

function badgeOf(user, botId) {
  if (user.id === botId) return "App";
  return ["guest", "external"].includes(user.role) ? ROLES[user.role] : null;
}
