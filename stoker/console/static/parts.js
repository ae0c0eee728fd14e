// Pieces that several sections share: tables, states of a listing, dialogs, notes.

import { fill, h, icon } from "./dom.js";
import { count, sentence } from "./format.js";

/** A table that becomes a list of cards on a phone. Columns: {label, cell(row), kind: "number" | "main" | ...}. */
export function table(caption, columns, rows, { key, open, opens = () => true, openLabel, compact = false } = {}) {
  const head = columns.map((column) => h("th", { scope: "col", class: column.kind, role: "columnheader" }, column.label));
  const body = rows.map((row) => {
    const cells = columns.map((column, at) => {
      let content = column.cell(row);
      if (at === 0 && open && opens(row)) {
        content = h("button", { class: "link", type: "button", data: { key: `open-${key(row)}` }, "aria-label": openLabel?.(row), on: { click: () => open(row) } }, content);
      }
      return h("td", { class: column.kind, role: "cell", data: { label: column.label } }, content);
    });
    return h("tr", { role: "row" }, cells);
  });
  return h("div", { class: `table-room${compact ? "" : " cards"}` },
    h("table", { role: "table" },
      h("caption", {}, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
      h("tbody", { role: "rowgroup" }, body)));
}

export function card(title, ...children) {
  return h("section", { class: "card" }, h("h2", {}, title), children);
}

export function empty(title, text) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), text && h("p", {}, text));
}

export function loading() {
  return h("div", { class: "loading", role: "status" }, h("span", { class: "visually-hidden" }, "Loading"), h("i"), h("i"), h("i"));
}

export function failed(error, retry) {
  return h("div", { class: "failed", role: "alert" },
    icon("bad"),
    h("div", {}, h("p", { class: "empty-title" }, "This could not be loaded"), h("p", {}, sentence(error.message))),
    retry && h("button", { type: "button", data: { key: "again" }, on: { click: retry } }, "Try again"));
}

const TONES = { done: "ok", valid: "ok", running: "live", ready: "live", failed: "warn", retried: "warn", deferred: "quiet", skipped: "quiet", claimed: "live", absent: "quiet", invalidated: "warn", expired: "quiet", dead: "bad", parked: "warn", lost: "warn", revoked: "quiet" };

export function state(name, text = name) {
  return h("span", { class: `state ${TONES[name] ?? "ok"}` }, text.replaceAll("_", " "));
}

/** Show what a promise brings, with its loading and failed states; a reload keeps what is there until it is done. */
export function listing(room, load, draw) {
  let asked = 0;
  let drawn = false;
  async function reload() {
    const mine = (asked += 1);
    if (!drawn) fill(room, loading());
    room.setAttribute("aria-busy", "true");
    try {
      const found = await load();
      if (mine !== asked) return;
      fill(room, draw(found));
      drawn = true;
    } catch (error) {
      if (mine !== asked) return;
      if (!drawn || error.status !== 0) {
        fill(room, failed(error, reload));
        drawn = false;
      }
    } finally {
      if (mine === asked) room.removeAttribute("aria-busy");
    }
  }
  return reload;
}

/** Ask before something that cannot be taken back. */
export function confirm({ title, text, action, keep = "Cancel", danger = false }) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "ask", "aria-labelledby": "ask-title" },
      h("form", { method: "dialog" },
        h("h2", { id: "ask-title" }, title),
        h("p", {}, text),
        h("div", { class: "actions" },
          h("button", { value: "no", autofocus: true }, keep),
          h("button", { value: "yes", class: danger ? "danger" : "primary" }, action))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Ask for one value; null if nothing is to be done. `control` is made by `h` and holds it. */
export function ask({ title, text, label, control, action }) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "ask", "aria-labelledby": "ask-title" },
      h("form", { method: "dialog" },
        h("h2", { id: "ask-title" }, title),
        h("p", {}, text),
        field(label, control),
        h("div", { class: "actions" },
          h("button", { value: "no", formnovalidate: true }, "Cancel"),
          h("button", { value: "yes", class: "primary" }, action))));
    // Enter in the field is the action, not the first button.
    control.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      if (control.reportValidity()) dialog.close("yes");
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? control.value.trim() : null);
    });
    document.body.append(dialog);
    dialog.showModal();
    control.focus();
  });
}

/** A panel over the page, for one thing in full. */
export function panel(title, content) {
  const room = h("div", { class: "panel-body" }, content);
  const dialog = h("dialog", { class: "panel", "aria-labelledby": "panel-title" },
    h("div", { class: "panel-head" },
      h("h2", { id: "panel-title" }, title),
      h("button", { type: "button", class: "quiet", on: { click: () => dialog.close() } }, "Close")),
    room);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return { room, close: () => dialog.close() };
}

export function note(text, tone = "ok") {
  const shown = h("div", { class: `toast ${tone}` }, icon(tone === "ok" ? "ok" : "bad"), h("span", {}, text));
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), 6000);
}

/** Do something and say how it went; the button cannot be pressed twice meanwhile. */
export async function act(button, work) {
  button.disabled = true;
  try {
    note(await work());
    return true;
  } catch (error) {
    note(error.message, "bad");
    return false;
  } finally {
    button.disabled = false;
  }
}

/** An error in one line; what else it says, such as its SQL, is folded. */
export function errorText({ summary, error }) {
  const whole = error.trim() !== summary.trim();
  return h("div", { class: "error-room" },
    h("p", { class: "error" }, summary),
    whole && h("details", {}, h("summary", {}, "Whole error"), h("pre", { tabindex: "0" }, error)));
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

export function field(label, control) {
  return h("label", { class: "field" }, h("span", {}, label), control);
}

export function select(name, options, chosen, on) {
  return h("select", { name, data: { key: `select-${name}` }, on: { change: on } },
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
}

const CAUSES = ["cold", "expired", "invalidated", "restarted", "access", "evicted", "undecodable", "forged", "bypass"];

/** Shares of a whole as one bar with its legend in words. */
export function causes(found) {
  const known = CAUSES.filter((cause) => found[cause]);
  const all = known.reduce((sum, cause) => sum + found[cause], 0);
  if (!all) return h("p", { class: "muted" }, "No misses");
  return h("div", { class: "causes" },
    h("div", { class: "bar", "aria-hidden": "true" }, known.map((cause) => h("i", { class: cause, style: { "--share": String(found[cause] / all) } }))),
    h("ul", {}, known.map((cause) => h("li", { class: cause }, `${cause} ${count(found[cause])}`))));
}

/** Draw anew only what has changed: a picture comes every second. */
export function whenChanged(node, found, draw) {
  const print = JSON.stringify(found);
  if (node.print === print) return;
  node.print = print;
  fill(node, draw());
}

/** What stands in place of a figure that is not known: never a zero, and who did not say. */
export function unknown(picture, part) {
  return picture.missing[part] ?? "not known";
}
