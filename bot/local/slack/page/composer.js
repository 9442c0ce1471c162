// The box one writes in: Enter sends, Shift and Enter begins a line; `@` offers people, `#` channels, and `/` at the
// beginning the slash commands. The list of offers follows the combobox pattern: the focus stays in the text.

import { avatar, h, icon } from "./dom.js";

/**
 * Makes a composer. `send(text)` may reject, then the text stays. `draft` is `{get(), set(text)}`. `offers` is `{people(), channels(), commands()}`;
 * without commands (as in a thread) `/` offers nothing.
 */
export function makeComposer({ id, label, placeholder, draft, send, offers }) {
  const text = h("textarea", {
    id, rows: "1", placeholder, "aria-label": label, role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false",
    "aria-controls": `${id}-offers`, autocomplete: "off", enterkeyhint: "send",
  });
  const list = h("div", { id: `${id}-offers`, class: "offers", role: "listbox", "aria-label": "Suggestions", hidden: true });
  const button = h("button", { class: "send", "aria-label": "Send", title: "Send", disabled: true }, icon("send"));
  const form = h("form", { class: "composer", "data-testid": "composer", onsubmit: (event) => { event.preventDefault(); submit(); } },
    list, h("div", { class: "composer-box" }, text, button));
  let offered = [];
  let chosen = 0;

  async function submit() {
    const written = text.value.trim();
    if (!written) return;
    text.value = "";
    update();
    try { await send(written); } catch { if (!text.value) { text.value = written; update(); } }
    text.focus();
  }

  function update() {
    draft.set(text.value);
    button.disabled = !text.value.trim();
    text.style.height = "auto";
    text.style.height = `${Math.min(text.scrollHeight, 220)}px`;
    offered = find(text.value.slice(0, text.selectionStart), offers);
    chosen = 0;
    draw();
  }

  function draw() {
    list.replaceChildren(...offered.map((offer, index) => h("div", {
      id: `${id}-offer-${index}`, class: "offer", role: "option", "aria-selected": String(index === chosen && !offer.isHint),
      onpointerdown: (event) => { event.preventDefault(); take(offer); },
    }, offer.person && avatar(offer.person), h("span", { class: "offer-name" }, offer.name), h("span", { class: "muted" }, offer.note))));
    list.hidden = !offered.length;
    text.setAttribute("aria-expanded", String(offered.length > 0));
    const isChosen = offered.length && !offered[chosen].isHint;
    if (isChosen) text.setAttribute("aria-activedescendant", `${id}-offer-${chosen}`);
    else text.removeAttribute("aria-activedescendant");
    list.children[chosen]?.scrollIntoView({ block: "nearest" });
  }

  function take(offer) {
    if (offer.isHint) return;
    text.setRangeText(offer.insert, offer.from, text.selectionStart, "end");
    update();
  }

  text.addEventListener("input", update);
  text.addEventListener("blur", () => { offered = []; draw(); });
  text.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const isOffering = offered.length > 0 && !offered[0].isHint;
    if (isOffering && ["ArrowDown", "ArrowUp"].includes(event.key)) {
      event.preventDefault();
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : -1) + offered.length) % offered.length;
      draw();
    } else if (isOffering && (event.key === "Tab" || event.key === "Enter") && !event.shiftKey) {
      event.preventDefault();
      take(offered[chosen]);
    } else if (offered.length && event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      offered = [];
      draw();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  text.value = draft.get();
  if (text.value) requestAnimationFrame(update); // its height is known only once it is on the page
  return form;
}

const matches = (name, typed) => name.toLowerCase().split(/[\s._-]+/).some((word, index, words) => words.slice(index).join(" ").startsWith(typed)) || name.toLowerCase().startsWith(typed);

// Which offers fit what stands before the caret.
function find(before, offers) {
  const command = /^\/\S*$/.exec(before);
  if (command && offers.commands) {
    return offers.commands().filter(({ command: name }) => name.startsWith(before)).map((known) => ({
      name: known.command, note: known.description, insert: `${known.command} `, from: 0,
    }));
  }
  const begun = offers.commands?.().find(({ command: name }) => before.startsWith(`${name} `));
  if (begun && !before.includes("\n")) return begun.usage_hint ? [{ isHint: true, name: begun.command, note: begun.usage_hint }] : [];
  const [, sign, typed] = /(?:^|[\s(])([@#])([\p{L}\p{N}._ -]{0,30})$/u.exec(before) ?? [];
  if (!sign) return [];
  const from = before.length - typed.length - 1;
  const wanted = typed.toLowerCase();
  const found = sign === "@"
    ? offers.people().filter(({ name }) => matches(name, wanted)).map((person) => ({ person, name: person.name, note: person.note, insert: `@${person.name} `, from }))
    : offers.channels().filter(({ name }) => matches(name, wanted)).map(({ name, note }) => ({ name: `#${name}`, note, insert: `#${name} `, from }));
  const isTaken = found.some(({ insert }) => insert.trim().slice(1).toLowerCase() === wanted.trim()) && typed.endsWith(" ");
  return isTaken ? [] : found.slice(0, 8);
}
