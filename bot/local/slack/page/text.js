// Slack's two ways of writing, read into elements: mrkdwn (`*bold*`, `<url|label>`), standard Markdown
// (`**bold**`, `[label](url)`: markdown blocks and streamed text) and rich_text. What is not understood is shown
// as it was written. No pattern here can be made slow by a message: none has two ways to match the same text.

import { h, outsideLink } from "./dom.js";

const EMOJI = {
  "+1": "👍", thumbsup: "👍", "-1": "👎", thumbsdown: "👎", eyes: "👀", tada: "🎉", heart: "❤️", pray: "🙏", fire: "🔥",
  white_check_mark: "✅", heavy_check_mark: "✔️", x: "❌", warning: "⚠️", rocket: "🚀", wave: "👋", clap: "👏", bulb: "💡",
  hourglass: "⌛", hourglass_flowing_sand: "⏳", mag: "🔍", books: "📚", book: "📖", link: "🔗", robot_face: "🤖", memo: "📝",
  page_facing_up: "📄", bookmark: "🔖", pushpin: "📌", lock: "🔒", key: "🔑", bell: "🔔", gear: "⚙️", thinking_face: "🤔",
  smile: "😄", slightly_smiling_face: "🙂", sob: "😢", cry: "😢", joy: "😂", point_right: "👉", raised_hands: "🙌",
  information_source: "ℹ️", question: "❓", exclamation: "❗", star: "⭐", sparkles: "✨", "100": "💯", stop_sign: "🛑",
  speech_balloon: "💬", arrow_right: "➡️", large_green_circle: "🟢", large_yellow_circle: "🟡", red_circle: "🔴", zap: "⚡",
};

/** The sign for an emoji's short name, or `:name:` for one that this page does not know. */
export const emoji = (name) => EMOJI[name.replace(/::skin-tone-\d$/, "")] ?? `:${name}:`;

const unescape = (text) => text.replace(/&(amp|lt|gt);/g, (_, name) => ({ amp: "&", lt: "<", gt: ">" })[name]);

/** Text without any formatting but emoji: plain_text objects, names, and what formatting leaves over. */
export const plain = (text) => unescape(text).replace(/:([a-z0-9_+-]+):/g, (whole, name) => EMOJI[name] ?? whole);

// An emphasis ends at its own sign, and steps over links and code, which may hold that sign.
const within = (sign) => `((?:<[^<>\\n]*>|\`[^\`\\n]+\`|[^${sign}\\n<\`]|<(?![^<>\\n]*>)|\`(?![^\`\\n]+\`))+)`;
const emphasis = (sign) => `(?<![\\p{L}\\p{N}${sign}])${sign}(?=\\S)${within(sign)}(?<=\\S)${sign}(?![\\p{L}\\p{N}${sign}])`;
const ENTITY = "<((?:https?:|mailto:|[@#!])[^<>\\n]+)>";
const SHORT_NAME = ":([a-z0-9_+-]+):(?!//)";
const ADDRESS = "(https?://[^\\s<>]*[^\\s<>.,;:!?)'\"*_~])";

const MRKDWN = [
  ["code", "`([^`\\n]+)`"], ["entity", ENTITY], ["strong", emphasis("\\*")], ["em", emphasis("_")], ["s", emphasis("~")],
  ["emoji", SHORT_NAME], ["address", ADDRESS],
];
const MARKDOWN = [
  ["literal", "\\\\([\\\\`*_{}\\[\\]()#+.!~<>|-])"], ["code", "`([^`\\n]+)`"],
  ["link", "\\[((?:[^\\[\\]]|\\[[^\\[\\]]*\\])*)\\]\\(((?:https?:|mailto:)(?:[^()\\s]|\\([^()\\s]*\\))*)\\)"],
  ["entity", ENTITY], ["strong", "\\*\\*(?=\\S)((?:(?!\\*\\*)[^\\n])+)(?<=\\S)\\*\\*"], ["strong", "__(?=\\S)((?:(?!__)[^\\n])+)(?<=\\S)__"],
  ["em", emphasis("\\*")], ["em", emphasis("_")], ["s", "~~(?=\\S)([^~\\n]+)(?<=\\S)~~"], ["emoji", SHORT_NAME], ["address", ADDRESS],
];

function reader(rules) {
  const pattern = rules.map(([, source]) => `(?:${source})`).join("|");
  const groups = rules.flatMap(([kind]) => (kind === "link" ? [kind, null] : [kind]));
  return function read(text, names) {
    const parts = [];
    let end = 0;
    for (const match of text.matchAll(new RegExp(pattern, "gu"))) {
      parts.push(plain(text.slice(end, match.index)));
      end = match.index + match[0].length;
      const at = match.slice(1).findIndex((group) => group !== undefined);
      const [kind, value, second] = [groups[at], match[at + 1], match[at + 2]];
      if (kind === "code") parts.push(h("code", {}, unescape(value)));
      else if (kind === "literal") parts.push(value);
      else if (kind === "entity") parts.push(entity(value, names));
      else if (kind === "emoji") parts.push(emoji(value));
      else if (kind === "link") parts.push(citation(outsideLink(unescape(second), ...read(value, names))));
      else if (kind === "address") parts.push(outsideLink(unescape(value), unescape(value)));
      else parts.push(h(kind, {}, ...read(value, names)));
    }
    parts.push(plain(text.slice(end)));
    return parts.filter((part) => part !== "");
  };
}
const readMrkdwn = reader(MRKDWN);
const readMarkdown = reader(MARKDOWN);

function entity(body, names) {
  const [target, label] = body.split(/\|(.*)/s);
  if (target.startsWith("@")) return mention(target.slice(1), names);
  if (target.startsWith("#")) return channelMention(target.slice(1), names, label);
  if (/^!(here|channel|everyone)/.test(target)) return h("span", { class: "mention" }, `@${target.slice(1)}`);
  if (target.startsWith("!")) return label ? plain(label) : `<${unescape(body)}>`;
  return citation(outsideLink(unescape(target), plain(label ?? target.replace(/^mailto:/, ""))));
}

const mention = (id, names) => h("span", { class: names.me === id ? "mention mention-me" : "mention" }, `@${names.user(id).name}`);

function channelMention(id, names, label) {
  const known = names.channel(id);
  if (!known) return h("span", { class: "mention" }, `#${label ? plain(label) : id}`);
  return h("a", { class: "mention", href: `#${id}` }, `#${known.name}`);
}

// [1] or 1 as a link's whole label is a mark that points at a source; it is set small, like a footnote's.
function citation(link) {
  if (/^\[?\d{1,2}\]?$/.test(link.textContent)) link.classList.add("cite");
  return link;
}

/** Reads mrkdwn into elements. */
export const mrkdwn = (text, names) => blocks(text, names, false);

/** Reads standard Markdown into elements; an unclosed fence, as in a half-streamed text, runs to the end. */
export const markdown = (text, names) => blocks(text, names, true);

function blocks(text, names, isMarkdown) {
  const fence = isMarkdown ? /^ {0,3}```[^\n`]*\n([\s\S]*?)(?:\n {0,3}``` *(?=\n|$)|(?![\s\S]))/gm : /```\n?([\s\S]*?)\n?```/g;
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(fence)) {
    parts.push(...paragraphs(text.slice(end, match.index), names, isMarkdown));
    parts.push(h("pre", { tabindex: "0" }, h("code", {}, unescape(match[1]))));
    end = match.index + match[0].length;
  }
  parts.push(...paragraphs(text.slice(end), names, isMarkdown));
  return parts;
}

const ITEM = /^(\s*)([-•◦▪*+]|\d{1,3}[.)])\s+(.*)$/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

const DEEPEST_QUOTE = 4;

function paragraphs(text, names, isMarkdown, depth = 0) {
  const read = isMarkdown ? readMarkdown : readMrkdwn;
  const lines = text.split("\n");
  const out = [];
  const isItem = (line) => ITEM.test(line) && (isMarkdown || !/^\s*[*+]/.test(line));
  const isQuote = (line) => depth < DEEPEST_QUOTE && /^\s{0,3}(>|&gt;)/.test(line);
  const isHeading = (line) => isMarkdown && /^#{1,6}\s+\S/.test(line);
  const isRule = (line) => isMarkdown && /^\s*([-*_])(\s*\1){2,}\s*$/.test(line);
  const isTable = (at) => isMarkdown && lines[at].includes("|") && TABLE_RULE.test(lines[at + 1] ?? "") && lines[at + 1].includes("-");
  const starts = (at) => !lines[at].trim() || isRule(lines[at]) || isItem(lines[at]) || isQuote(lines[at]) || isHeading(lines[at]) || isTable(at);
  const run = (from, belongs) => {
    let to = from;
    while (to < lines.length && belongs(lines[to])) to += 1;
    return to;
  };
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    if (!line.trim()) at += 1;
    else if (isHeading(line)) {
      out.push(h("p", { class: "heading", role: "heading", "aria-level": "4" }, ...read(line.replace(/^#+\s+|\s+#+\s*$/g, ""), names)));
      at += 1;
    } else if (isRule(line)) { out.push(h("hr", {})); at += 1; }
    else if (isQuote(line)) {
      const to = run(at, isQuote);
      const inner = lines.slice(at, to).map((quoted) => quoted.replace(/^\s{0,3}(>|&gt;)\s?/, "")).join("\n");
      out.push(h("blockquote", {}, ...paragraphs(inner, names, isMarkdown, depth + 1)));
      at = to;
    } else if (isItem(line)) {
      const to = run(at, (next) => isItem(next) || (isMarkdown && /^\s{2,}\S/.test(next)));
      out.push(list(lines.slice(at, to), (item) => read(item, names)));
      at = to;
    } else if (isTable(at)) {
      const to = run(at + 2, (next) => next.includes("|"));
      out.push(table([lines[at], ...lines.slice(at + 2, to)], (cell) => read(cell, names)));
      at = to;
    } else {
      let to = at + 1;
      while (to < lines.length && !starts(to)) to += 1;
      const written = lines.slice(at, to).flatMap((part, index) => (index ? [h("br", {}), ...read(part, names)] : read(part, names)));
      out.push(h("p", {}, ...written));
      at = to;
    }
  }
  return out;
}

function list(lines, read) {
  const stack = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (!item) { stack.at(-1).list.lastElementChild.append(h("br", {}), ...read(line.trim())); continue; }
    const [, indent, sign, rest] = item;
    while (stack.length > 1 && indent.length < stack.at(-1).indent) stack.pop();
    if (!stack.length || indent.length > stack.at(-1).indent + 1) {
      const made = /\d/.test(sign) ? h("ol", { start: parseInt(sign, 10) }) : h("ul", {});
      stack.at(-1)?.list.lastElementChild.append(made);
      stack.push({ list: made, indent: indent.length });
    }
    stack.at(-1).list.append(h("li", {}, ...read(rest)));
  }
  return stack[0].list;
}

function table(lines, read) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => read(cell.trim()));
  const [head, ...rows] = lines.map(cells);
  return h("div", { class: "table", tabindex: "0" }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, ...cell)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, ...cell)))))));
}

/** Reads a rich_text block into elements. */
export const richText = (block, names) => block.elements.map((part) => richPart(part, names));

function richPart(part, names) {
  const inside = () => (part.elements ?? []).map((element) => richElement(element, names));
  if (part.type === "rich_text_list") {
    const items = part.elements.map((item) => h("li", {}, ...item.elements.map((element) => richElement(element, names))));
    return h(part.style === "ordered" ? "ol" : "ul", { class: part.indent ? "indented" : null, start: part.offset ? part.offset + 1 : null }, items);
  }
  if (part.type === "rich_text_preformatted") return h("pre", { tabindex: "0" }, h("code", {}, ...inside()));
  if (part.type === "rich_text_quote") return h("blockquote", {}, h("p", { class: "written" }, ...inside()));
  return h("p", { class: "written" }, ...inside());
}

function richElement(element, names) {
  let made = element.text ?? "";
  if (element.type === "link") made = citation(outsideLink(element.url, element.text ?? element.url));
  else if (element.type === "user") made = mention(element.user_id, names);
  else if (element.type === "channel") made = channelMention(element.channel_id, names);
  else if (element.type === "broadcast") made = h("span", { class: "mention" }, `@${element.range}`);
  else if (element.type === "emoji") made = emoji(element.name);
  else if (element.type === "date") made = element.fallback ?? new Date(element.timestamp * 1000).toLocaleString();
  for (const [style, tag] of [["code", "code"], ["bold", "strong"], ["italic", "em"], ["strike", "s"]]) {
    if (element.style?.[style]) made = h(tag, {}, made);
  }
  return made;
}

/** What a person typed, as Slack's clients send it: signs escaped, names and channels as entities. */
export function encode(typed, names) {
  const people = names.people().sort((one, other) => other.name.length - one.name.length);
  const escapeSigns = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);
  return typed.split(/(```[\s\S]*?```|`[^`\n]+`)/).map((part, index) => {
    let text = escapeSigns(part);
    if (index % 2) return text;
    for (const person of people) text = text.replaceAll(`@${escapeSigns(person.name)}`, `<@${person.id}>`);
    return text.replace(/(^|\s)#([\p{L}\p{N}_-]+)/gu, (whole, before, name) => {
      const channel = names.channelNamed(name);
      return channel ? `${before}<#${channel.id}|${name}>` : whole;
    });
  }).join("");
}

/** The reverse of `encode`, for editing. */
export function decode(text, names) {
  return unescape(text.replace(/<([^<>]+)>/g, (_, body) => {
    const [target, label] = body.split("|");
    if (target.startsWith("@")) return `@${names.user(target.slice(1)).name}`;
    if (target.startsWith("#")) return `#${names.channel(target.slice(1))?.name ?? label ?? target.slice(1)}`;
    return label ? `[${label}](${target})` : target;
  }));
}
