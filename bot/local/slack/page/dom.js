// Building elements. Everything on the page is made here, from text nodes and attributes, so that no text of a
// message is ever read as HTML (the page's policy, require-trusted-types-for, forbids it besides).

/** Makes an element; `onclick` and its like become listeners, `false`, `null` and `undefined` are left out. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** A link that leaves the page, or plain text where the address is not http(s) or mailto. */
export function outsideLink(address, ...label) {
  let url;
  try { url = new URL(address); } catch { return h("span", {}, ...label); }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return h("span", {}, ...label);
  return h("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, ...label);
}

const SHAPES = {
  hash: "M9 4 7 20M17 4l-2 16M4.5 9h16M3.5 15h16",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  shared: "M9 15l6-6M10.5 7.5 13 5a4 4 0 0 1 6 6l-2.5 2.5M13.5 16.5 11 19a4 4 0 0 1-6-6l2.5-2.5",
  group: "M9 11a3.2 3.2 0 1 0 0-6.4A3.2 3.2 0 0 0 9 11zM3 20c0-3.6 2.6-5.6 6-5.6s6 2 6 5.6M16 5a3 3 0 0 1 0 5.8M17.5 14.8c2.2.7 3.5 2.5 3.5 5.2",
  direct: "M4 5h16v11H11l-5 4v-4H4z",
  close: "M6 6l12 12M18 6 6 18",
  menu: "M4 7h16M4 12h16M4 17h10",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  reply: "M4 5h16v11H11l-5 4v-4H4zM8 9h8M8 12h5",
  smile: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM8.5 14c.8 1.3 2 2 3.5 2s2.7-.7 3.5-2M9 9.5h.01M15 9.5h.01",
  send: "M12 19V6M6 11.5 12 5.5l6 6",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 14.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z",
  chevron: "M9 6l6 6-6 6",
};

/** A drawn sign of 24 by 24 units in the colour of the text; it is decoration, its button carries the name. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `icon icon-${name}`);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

/** A button that shows only a sign; its name is read out and shown on hovering. */
export function iconButton(name, label, onclick, attributes) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

/** The initials of a person, or the mark of the app, on a quiet colour that stays the same for that person. */
export function avatar(person) {
  if (person.isBot) return h("span", { class: "avatar avatar-app", "aria-hidden": "true" }, icon("reply"));
  const words = person.name.replace(/[^\p{L}\p{N} ._-]/gu, "").split(/[\s._-]+/).filter(Boolean);
  const initials = (words.length > 1 ? words[0][0] + words.at(-1)[0] : (words[0] ?? "?").slice(0, 2)).toUpperCase();
  const element = h("span", { class: "avatar", "aria-hidden": "true" }, initials);
  const hue = [...person.id].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  element.style.setProperty("--hue", hue);
  return element;
}

/** Opens a small menu beside a button; the arrow keys move in it, Escape and a click elsewhere close it. */
export function openMenu(button, label, ...items) {
  const menu = h("div", { class: "menu", role: "menu", popover: "auto", "aria-label": label }, ...items);
  document.body.append(menu);
  menu.addEventListener("toggle", (event) => {
    if (event.newState !== "closed") return;
    const wasInside = menu.contains(document.activeElement) || document.activeElement === document.body;
    menu.remove();
    if (wasInside) button.focus();
  });
  menu.addEventListener("click", (event) => event.target.closest("[role=menuitem]") && menu.hidePopover());
  menu.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const choices = [...menu.querySelectorAll("[role=menuitem]")];
    choices[(choices.indexOf(document.activeElement) + step + choices.length) % choices.length].focus();
  });
  menu.showPopover();
  const anchor = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  menu.style.left = `${Math.max(8, Math.min(anchor.right - width, innerWidth - width - 8))}px`;
  menu.style.top = `${anchor.bottom + height + 8 < innerHeight ? anchor.bottom + 4 : Math.max(8, anchor.top - height - 4)}px`;
  menu.querySelector("[role=menuitem]")?.focus();
}

/** One choice of such a menu. */
export function menuItem(label, onclick, attributes) {
  return h("button", { type: "button", role: "menuitem", onclick, ...attributes }, label);
}

/** Asks before something is done that cannot be taken back; Escape and Cancel do nothing. */
export function askFirst(title, text, yes, no, act) {
  const dialog = h("dialog", { class: "dialog dialog-small", "aria-label": title, onclose: () => {
    dialog.remove();
    if (dialog.returnValue === "yes") act();
  } }, h("form", { method: "dialog" },
    h("h2", {}, title), h("p", { class: "written" }, text),
    h("footer", {}, h("button", { class: "button", value: "no" }, no), h("button", { class: "button button-primary", value: "yes", autofocus: true }, yes))));
  document.body.append(dialog);
  dialog.showModal();
}
