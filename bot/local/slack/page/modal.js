// The dialogs that a bot opens with views.open: shown, filled in, submitted, and corrected where the bot refuses.

import { readInput, renderBlocks } from "./blocks.js";
import { h } from "./dom.js";
import { plain } from "./text.js";

/** What stands in the inputs below `root`: `{block_id: {action_id: value}}`; a checkbox group's value is a list. */
export function readInputs(root) {
  const values = {};
  for (const input of root.querySelectorAll("[data-input]")) {
    const block = input.closest("[data-block]").dataset.block;
    values[block] = { [input.dataset.input]: readInput(input) };
  }
  return values;
}

/** Puts values, as `readInputs` gives them, into the inputs below `root` that have the same ids. */
export function writeInputs(root, values) {
  for (const input of root.querySelectorAll("[data-input]")) {
    const value = values[input.closest("[data-block]").dataset.block]?.[input.dataset.input];
    if (value === undefined || value === null) continue;
    const boxes = input.querySelectorAll("input");
    if (boxes.length) for (const box of boxes) box.checked = [value].flat().includes(box.value);
    else input.value = value;
  }
}

/** Writes the errors of a refused modal, `{block_id: text}`, below its inputs; the first gets the focus. */
export function showErrors(root, errors) {
  for (const block of root.querySelectorAll("[data-block]")) {
    const place = block.querySelector(".field-error");
    if (!place) continue;
    const error = errors[block.dataset.block];
    place.textContent = error ?? "";
    block.querySelector("[data-input]").setAttribute("aria-invalid", String(Boolean(error)));
  }
  root.querySelector("[aria-invalid=true]")?.focus();
}

/**
 * Shows a modal of `views.open` until the server no longer lists it. `submit(values)` resolves to the app's
 * `{response_action, errors}` or nothing; `close()` is told when the person leaves without submitting.
 */
export function openModal(view, context, { submit, close }) {
  const title = plain(view.title.text);
  const leave = () => { dialog.close(); close(); };
  const body = h("div", { class: "dialog-body" }, renderBlocks(view.blocks, { ...context, prefix: view.id }));
  const dialog = h("dialog", { class: "dialog", "aria-label": title, "data-testid": "modal", "data-view": view.id, oncancel: (event) => { event.preventDefault(); leave(); } },
    h("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        const answer = await submit(readInputs(body));
        if (answer?.response_action === "errors") showErrors(body, answer.errors);
      },
    },
      h("h2", {}, title), body,
      h("footer", {},
        h("button", { type: "button", class: "button", onclick: leave }, plain(view.close?.text ?? "Cancel")),
        view.submit && h("button", { class: "button button-primary" }, plain(view.submit.text)))));
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
  return dialog;
}
