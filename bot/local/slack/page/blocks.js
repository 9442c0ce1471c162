// Block Kit, read into elements: the blocks of messages, of modals and of the App Home. A block that this page does
// not know is shown as what it is called, so that nothing a bot sends goes missing without a word.

import { askFirst, h, icon, menuItem, openMenu, outsideLink } from "./dom.js";
import { markdown, mrkdwn, plain, richText } from "./text.js";

/**
 * Renders blocks. `context` is `{names, press(action, value), pressed(actionId)}`: `press` is called with the block
 * element that was used; `pressed` says which value this user last pressed there.
 */
export const renderBlocks = (blocks, context) => (blocks ?? []).map((block) =>
  h("div", { class: `block block-${block.type}`, "data-block": block.block_id }, (BLOCKS[block.type] ?? unknown)(block, context)));

const unknown = (block) => h("p", { class: "muted" }, `[${block.type}]`);

const write = (text, context) => (text.type === "mrkdwn" ? mrkdwn(text.text, context.names) : h("p", { class: "written" }, plain(text.text)));

const BLOCKS = {
  section: (block, context) => [
    h("div", { class: "section-text" },
      block.text && write(block.text, context),
      block.fields && h("div", { class: "fields" }, block.fields.map((field) => h("div", {}, write(field, context))))),
    block.accessory && h("div", { class: "accessory" }, renderElement(block.accessory, context)),
  ],
  header: (block) => h("p", { class: "header-text", role: "heading", "aria-level": "3" }, plain(block.text.text)),
  context: (block, context) => block.elements.map((part) => (part.type === "image" ? image(part) : h("span", {}, write(part, context)))),
  divider: () => h("hr", {}),
  markdown: (block, context) => markdown(block.text, context.names),
  rich_text: (block, context) => richText(block, context.names),
  image: (block) => image(block),
  actions: (block, context) => block.elements.map((part) => renderElement(part, context)),
  context_actions: (block, context) => block.elements.map((part) => renderElement(part, context)),
  input: (block, context) => field(block, context),
  plan: (block, context) => [
    h("p", { class: "header-text" }, plain(block.title?.text ?? block.title ?? "")),
    (block.tasks ?? []).map((task) => BLOCKS.task_card(task, context)),
  ],
  task_card: (block, context) => h("div", { class: `task task-${block.status}` },
    h("p", {}, h("span", { class: "task-mark", role: "img", "aria-label": block.status ?? "pending" }), plain(block.title?.text ?? block.title ?? "")),
    block.details && richText(block.details, context.names),
    block.output && richText(block.output, context.names),
    block.sources?.length && h("ul", { class: "sources" }, block.sources.map((source) => h("li", {}, outsideLink(source.url, source.text ?? source.url))))),
};

// Pictures lie on other servers, and this page asks nobody but its own: a link stands in for them.
const image = (part) => h("span", { class: "image" }, outsideLink(part.image_url ?? "", part.alt_text || "Image"));

const ELEMENTS = {
  button: (part, context) => {
    const label = plain(part.text.text);
    const press = () => {
      if (part.url) window.open(part.url, "_blank", "noopener,noreferrer");
      return context.press(part, part.value);
    };
    return h("button", {
      type: "button", class: `button button-${part.style ?? "plain"}`, "aria-label": part.accessibility_label, "data-key": part.action_id,
      onclick: () => withConfirmation(part.confirm, press),
    }, label);
  },
  feedback_buttons: (part, context) => {
    const pressed = context.pressed(part.action_id);
    const thumb = (choice, testId, sign, name) => h("button", {
      type: "button", class: "thumb", "aria-label": choice.accessibility_label ?? `${name}: ${plain(choice.text.text)}`,
      "aria-pressed": String(pressed === choice.value), title: plain(choice.text.text), "data-testid": testId, "data-key": testId,
      onclick: () => context.press(part, choice.value),
    }, sign);
    return h("div", { class: "feedback", role: "group", "aria-label": "Feedback" },
      thumb(part.positive_button, "feedback-up", "👍", "Good"), thumb(part.negative_button, "feedback-down", "👎", "Bad"));
  },
  icon_button: (part, context) => h("button", {
    type: "button", class: "button", "aria-label": part.accessibility_label, onclick: () => withConfirmation(part.confirm, () => context.press(part, part.value)),
  }, plain(part.text?.text ?? part.icon)),
  overflow: (part, context) => h("button", {
    type: "button", class: "icon-button", "aria-label": "More choices", "aria-haspopup": "menu", "data-key": part.action_id,
    onclick: (event) => openMenu(event.currentTarget, "More choices", part.options.map((option) => menuItem(plain(option.text.text), () => withConfirmation(part.confirm, () => context.press(part, option.value))))),
  }, icon("more")),
  static_select: (part, context) => select(part, {
    "aria-label": plain(part.placeholder?.text ?? "Choose"), "data-key": part.action_id,
    onchange: (event) => context.press(part, event.target.value),
  }),
  image,
  url: (part) => outsideLink(part.url, part.text ?? part.url),
};

function renderElement(part, context) {
  const input = INPUTS[part.type];
  if (ELEMENTS[part.type]) return ELEMENTS[part.type](part, context);
  if (!input) return unknown(part);
  const made = input(part, { name: part.action_id });
  made.addEventListener("change", () => context.press(part, readInput(made)));
  return made;
}

const optionsOf = (part) => part.options ?? (part.option_groups ?? []).flatMap((group) => group.options);

function select(part, attributes) {
  const initial = part.initial_option?.value;
  const option = (choice) => h("option", { value: choice.value, selected: choice.value === initial }, plain(choice.text.text));
  return h("select", { class: "select", ...attributes },
    h("option", { value: "", disabled: true, selected: !initial }, plain(part.placeholder?.text ?? "Choose…")),
    part.option_groups
      ? part.option_groups.map((group) => h("optgroup", { label: plain(group.label.text) }, group.options.map(option)))
      : optionsOf(part).map(option));
}

function choices(part, attributes, type) {
  const initial = [part.initial_option, ...(part.initial_options ?? [])].filter(Boolean).map((option) => option.value);
  return h("div", { class: "choices", ...attributes }, optionsOf(part).map((option) => h("label", { class: "choice" },
    h("input", { type, name: attributes.name, value: option.value, checked: initial.includes(option.value) }),
    h("span", {}, plain(option.text.text), option.description && h("small", {}, plain(option.description.text))))));
}

const line = (type) => (part, attributes) => h(part.multiline ? "textarea" : "input", {
  type: part.multiline ? null : type, class: "input", placeholder: part.placeholder && plain(part.placeholder.text), minlength: part.min_length,
  maxlength: part.max_length, rows: part.multiline ? 4 : null, value: part.multiline ? null : part.initial_value, autofocus: part.focus_on_load, ...attributes,
}, part.multiline ? part.initial_value ?? "" : null);

const INPUTS = {
  plain_text_input: line("text"), email_text_input: line("email"), url_text_input: line("url"), number_input: line("number"),
  static_select: (part, attributes) => select(part, attributes),
  radio_buttons: (part, attributes) => choices(part, { role: "radiogroup", ...attributes }, "radio"),
  checkboxes: (part, attributes) => choices(part, { role: "group", ...attributes }, "checkbox"),
};

function field(block, context) {
  const id = `field-${context.prefix ?? ""}-${block.block_id}`;
  const isGroup = ["radio_buttons", "checkboxes"].includes(block.element.type);
  const make = INPUTS[block.element.type] ?? unknown;
  const hint = block.hint && h("p", { class: "hint", id: `${id}-hint` }, plain(block.hint.text));
  const input = make(block.element, {
    id, name: `${block.block_id}/${block.element.action_id}`, "data-input": block.element.action_id, "aria-labelledby": `${id}-label`,
    "aria-describedby": hint ? `${id}-hint` : null, required: !block.optional && !isGroup,
  });
  return h("div", { class: "field" },
    h("label", { id: `${id}-label`, for: isGroup ? null : id }, plain(block.label.text), block.optional && h("span", { class: "muted" }, " (optional)")),
    input, hint, h("p", { class: "field-error", role: "alert" }));
}

/** The value of one input: a text or the chosen value, `null` where there is none, a list for checkboxes. */
export function readInput(input) {
  const boxes = [...input.querySelectorAll?.("input") ?? []];
  if (!boxes.length) return input.value === "" ? null : input.value;
  const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
  return boxes[0].type === "radio" ? chosen[0] ?? null : chosen;
}

function withConfirmation(confirm, act) {
  if (!confirm) return act();
  return askFirst(plain(confirm.title.text), plain(confirm.text.text), plain(confirm.confirm?.text ?? "Yes"), plain(confirm.deny?.text ?? "Cancel"), act);
}
