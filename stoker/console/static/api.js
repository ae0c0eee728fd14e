// Asking the API. Every failure is an Error with a sentence that can be shown.

export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const UNATTENDED_MS = 60000;

let signedOut = () => {};
let usedAt = Date.now();

for (const event of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
  addEventListener(event, () => { usedAt = Date.now(); }, { passive: true, capture: true });
}

/** For requests of a page that nobody uses: they keep no session alive. */
export function unattended() {
  return Date.now() - usedAt > UNATTENDED_MS ? { "X-Stoker-Unattended": "1" } : {};
}

/** What to do when the session is over. */
export function whenSignedOut(listener) {
  signedOut = listener;
}

export async function get(path, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(given).toString();
  return ask("GET", query ? `${path}?${query}` : path);
}

export function post(path, body) {
  return ask("POST", path, body);
}

export function put(path, body) {
  return ask("PUT", path, body);
}

export function remove(path) {
  return ask("DELETE", path);
}

async function ask(method, path, body) {
  // A session acts only with this header: no other site's page can send it.
  const headers = { Accept: "application/json", ...unattended() };
  if (method !== "GET") headers["X-Stoker-Console"] = "1";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, credentials: "same-origin", body: body && JSON.stringify(body) });
  } catch {
    throw new Failure(0, "The API does not answer. It may be restarting.");
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  if (answer.status === 401 && path !== "/api/session") signedOut();
  throw new Failure(answer.status, found.message ?? `The API answered ${answer.status}.`);
}
