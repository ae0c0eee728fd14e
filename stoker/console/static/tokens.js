// Tokens that were added, and those of the settings. A token is shown only once, when it is made.

import { get, post } from "./api.js";
import { fill, h } from "./dom.js";
import { ago, clock } from "./format.js";
import { act, confirm, empty, field, listing, note, panel, select, state, table } from "./parts.js";

const ROLES = [["viewer", "viewer: reads"], ["operator", "operator: reads and acts"]];
const NAME = "[A-Za-z0-9._\\-]{1,40}";

export function tokens(main) {
  const room = h("div");
  const reload = listing(room, () => get("/api/tokens"), (found) => draw(found, reload));
  const form = h("form", { class: "filters", "aria-label": "Add a token", on: { submit: async (event) => {
    event.preventDefault();
    const given = new FormData(form);
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      handOver(await post("/api/tokens", { name: given.get("name"), role: given.get("role"), days: Number(given.get("days")) || null }));
      form.reset();
    } catch (error) {
      note(error.message, "bad");
    } finally {
      button.disabled = false;
    }
    reload();
  } } },
    field("Whose", h("input", { name: "name", required: true, pattern: NAME, maxlength: 40, placeholder: "grafana", title: "Letters, digits, . _ and -, at most 40", autocomplete: "off", spellcheck: "false", data: { search: "1" } })),
    field("Role", select("role", ROLES, "viewer", () => {})),
    field("Days", h("input", { name: "days", type: "number", min: 1, max: 3650, placeholder: "no limit" })),
    h("button", { type: "submit", class: "primary" }, "Add a token"));
  fill(main, h("h1", {}, "Tokens"), form, room);
  reload();
  return { changed: (last) => String(last.audit), reload };
}

function draw(found, reload) {
  const rows = [
    ...found.settings.map((token) => ({ ...token, from: "settings" })),
    ...found.tokens.map((token) => ({ ...token, from: "added" })),
  ];
  if (!rows.length) return empty("No token", "Add one for each person and program that uses the API.");
  return table("Tokens", [
    { label: "Name", kind: "main", cell: (token) => h("strong", {}, token.name) },
    { label: "Role", cell: (token) => token.role },
    { label: "State", cell: (token) => stateOf(token) },
    { label: "Added", kind: "number", cell: (token) => (token.created_at ? clock(token.created_at) : "in the settings") },
    { label: "Last used", kind: "number", cell: (token) => (token.from === "settings" ? "not recorded" : token.last_used_at ? ago(token.last_used_at) : "never") },
    { label: "Action", kind: "actions", cell: (token) => token.from === "added" && !token.revoked_at && revokeButton(token, reload) },
  ], rows);
}

function stateOf(token) {
  if (token.revoked_at) return state("revoked", `revoked ${ago(token.revoked_at)}`);
  if (!token.expires_at) return state("valid", "in use");
  if (new Date(token.expires_at) < new Date()) return state("revoked", `ended ${ago(token.expires_at)}`);
  return state("valid", `until ${clock(token.expires_at)}`);
}

function revokeButton(token, reload) {
  return h("button", { type: "button", class: "small danger", data: { key: `revoke-${token.name}` }, "aria-label": `Revoke token ${token.name}`, on: { click: async (event) => {
    const button = event.currentTarget;
    const text = "Within 5 seconds every process refuses it, and its console sessions end. This cannot be undone.";
    if (!(await confirm({ title: `Revoke ${token.name}?`, text, action: `Revoke ${token.name}`, danger: true }))) return;
    await act(button, async () => {
      await post("/api/tokens/revoke", { name: token.name });
      return `${token.name} is revoked.`;
    });
    reload();
  } } }, "Revoke");
}

/** The only time that anybody sees it. */
function handOver({ name, role, token }) {
  const shown = h("input", { readonly: true, value: token, "aria-label": `The token of ${name}`, autocomplete: "off", spellcheck: "false", class: "mono", on: { focus: (event) => event.target.select() } });
  const copy = h("button", { type: "button", class: "primary", on: { click: async () => {
    shown.select();
    try {
      await navigator.clipboard.writeText(token);
      note("Copied.");
    } catch {
      note("Select it and copy it by hand.", "bad");
    }
  } } }, "Copy");
  panel(`Token of ${name}`, [
    h("p", {}, `Keep it now: it is not shown again. It is valid within 5 seconds, with the role ${role}.`),
    h("div", { class: "handed" }, shown, copy),
  ]);
  shown.focus();
}
