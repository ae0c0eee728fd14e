// The page: who is signed in, which section is shown, and the stream that keeps it live.

import { get, post, remove, whenSignedOut } from "./api.js";
import { fill, h, icon, say } from "./dom.js";
import { clock, count } from "./format.js";
import { Live } from "./live.js";
import { overview } from "./overview.js";
import { failed, field, loading, note } from "./parts.js";

/** A section's script is fetched when the section is first shown: the page stays light. */
const fetched = (name) => import(`./${name}.js`).then((found) => found[name]);
const SECTIONS = { overview: ["Overview", async () => overview], jobs: ["Jobs", fetched], dead: ["Dead letters", fetched], workers: ["Workers", fetched], schedule: ["Schedule", fetched], cache: ["Cache", fetched], audit: ["Audit", fetched], tokens: ["Tokens", fetched] };
const OPERATORS_ONLY = new Set(["tokens"]);

const main = document.getElementById("main");
const top = document.getElementById("top");
const banner = document.getElementById("banner");

const page = { session: null, live: null, section: null, name: null, mark: null, due: 0, timer: null, turn: 0 };

/** The sections of whoever is signed in. */
function sections() {
  return Object.keys(SECTIONS).filter((name) => page.session?.role === "operator" || !OPERATORS_ONLY.has(name));
}

function route() {
  const [name, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: sections().includes(name) ? name : "overview", filters: Object.fromEntries(new URLSearchParams(query ?? "")) };
}

function go(name, filters = {}) {
  const given = Object.entries(filters).filter(([, value]) => value);
  const query = new URLSearchParams(given).toString();
  const hash = `#/${name}${query ? `?${query}` : ""}`;
  if (location.hash === hash) show();
  else location.hash = hash;
}

async function show() {
  if (!page.session?.signed_in) return;
  const { name, filters } = route();
  const turn = (page.turn += 1);
  page.section?.close?.();
  page.section = null;
  clearTimeout(page.timer);
  page.timer = null;
  const moved = page.name !== name;
  page.name = name;
  page.mark = null;
  document.title = name === "overview" ? "Stoker" : `${SECTIONS[name][0]} · Stoker`;
  for (const link of top.querySelectorAll("nav a")) {
    if (link.dataset.name === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (moved) top.querySelector("nav a[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  const context = { operator: page.session.role === "operator", go };
  main.className = name;
  if (moved) fill(main, loading());
  try {
    const section = await SECTIONS[name][1](name);
    if (turn !== page.turn) return;
    page.section = section(main, context, filters);
  } catch (error) {
    if (turn === page.turn) fill(main, failed(error, show));
    return;
  }
  if (moved && document.activeElement?.closest("nav") === null) window.scrollTo(0, 0);
  if (page.live?.latest) received(page.live.latest);
}

function received(picture) {
  const letters = Object.values(picture.lanes ?? {}).reduce((sum, lane) => sum + (lane.dead ?? 0), 0);
  const badge = top.querySelector("nav .badge");
  if (badge) {
    say(badge, letters ? count(letters) : "");
    badge.hidden = letters === 0;
  }
  top.dataset.verdict = picture.verdict;
  const { section } = page;
  section?.update?.(picture);
  if (!section?.changed) return;
  // A listing is asked for again when there is news for it, and not more often than it wants.
  const mark = section.changed(picture.last, picture);
  if (page.mark !== null && mark !== page.mark) later(section);
  page.mark = mark;
}

function later(section) {
  if (page.timer) return;
  const wait = Math.max(0, page.due - Date.now());
  page.timer = setTimeout(() => {
    page.timer = null;
    page.due = Date.now() + (section.everyMs ?? 1000);
    if (page.section === section && !document.hidden && !editing()) section.reload();
  }, wait);
}

/** Somebody reads an open detail or a menu: the list under it can wait. */
function editing() {
  return main.querySelector("details[open]") !== null;
}

function heard(state) {
  const status = top.querySelector(".status");
  if (status) {
    status.className = `status ${state}`;
    say(status.querySelector("span"), state === "live" ? "Live" : "Disconnected");
  }
  if (state === "live") {
    if (!banner.hidden) fill(banner);
    banner.hidden = true;
    document.body.classList.remove("lost");
    return;
  }
  const since = page.live?.latest ? `Figures are from ${clock(page.live.latest.at)}.` : "";
  fill(banner, icon("warn"), h("div", {}, h("strong", {}, "Disconnected. "), `${since} Trying again until the API answers.`));
  banner.hidden = false;
  document.body.classList.add("lost");
}

function drawTop() {
  const { session } = page;
  fill(top,
    h("a", { class: "brand", href: "#/overview" }, h("img", { src: "/console/icon.svg", alt: "", width: 22, height: 22 }), "Stoker"),
    session.signed_in && h("nav", { "aria-label": "Sections" }, sections().map((name) =>
      h("a", { href: `#/${name}`, data: { name } }, SECTIONS[name][0], name === "dead" && h("span", { class: "badge", hidden: true })))),
    session.signed_in && h("div", { class: "who" },
      h("span", { class: "status" }, h("i", { "aria-hidden": "true" }), h("span", {}, "Connecting")),
      h("span", { class: "name" }, session.name, h("span", { class: "role" }, session.role)),
      session.until && h("button", { type: "button", class: "quiet small", on: { click: signOut } }, "Sign out")));
}

function leave() {
  page.live?.close();
  page.live = null;
  page.section?.close?.();
  page.section = null;
  page.name = null;
  page.turn += 1;
}

async function signOut() {
  try {
    await remove("/api/session");
  } catch (error) {
    note(`Not signed out everywhere: ${error.message}`, "bad");
  } finally {
    leave();
    await begin();
  }
}

function askToken(said = "") {
  leave();
  page.session = { signed_in: false };
  drawTop();
  banner.hidden = true;
  document.title = "Sign in · Stoker";
  const message = h("p", { class: "error", role: "alert" }, said);
  const button = h("button", { type: "submit", class: "primary" }, "Sign in");
  const input = h("input", { id: "token", name: "token", type: "password", required: true, autocomplete: "current-password", autofocus: true });
  main.className = "sign-in";
  fill(main, h("form", { class: "card", on: { submit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      page.session = await post("/api/session", { token: input.value });
      start();
    } catch (error) {
      say(message, error.message);
      input.select();
    } finally {
      button.disabled = false;
    }
  } } }, h("h1", {}, "Sign in"), h("p", { class: "muted" }, "With a token of the settings, of ", h("code", {}, "stoker tokens add"), ", or the one in the file ", h("code", {}, "operator-token"), " that ", h("code", {}, "stoker up"), " has made. Viewers read, operators also act."), field("Token", input), message, button));
  input.focus();
}

function start() {
  drawTop();
  page.live = new Live({ onOverview: received, onState: heard, onSignedOut: () => askToken("The session is over.") });
  show();
}

/** The token in an address that `stoker up` printed; it leaves the address at once. */
function handedToken() {
  const token = location.hash.startsWith("#token=") ? location.hash.slice("#token=".length) : "";
  if (token) history.replaceState(null, "", location.pathname);
  return token;
}

async function begin() {
  const token = handedToken();
  if (token) {
    try {
      page.session = await post("/api/session", { token });
      start();
    } catch (error) {
      askToken(error.message);
    }
    return;
  }
  try {
    page.session = await get("/api/session");
  } catch (error) {
    fill(main, failed(error, begin));
    return;
  }
  if (page.session.signed_in) start();
  else askToken();
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    const search = main.querySelector("[data-search]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  } else if (sections()[Number(event.key) - 1]) {
    go(sections()[Number(event.key) - 1]);
  }
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

window.addEventListener("hashchange", show);
whenSignedOut(() => askToken("The session is over: sign in again."));
begin();
