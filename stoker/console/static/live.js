// The live overview. A stream that breaks, or that is silent for too long, is opened again.

import { unattended } from "./api.js";

const SILENT_MS = 8000;
const FIRST_MS = 500;
const LONGEST_MS = 5000;
const PATIENCE_MS = 1500;

export class Live {
  /** `onOverview(picture)`, `onState("live" | "lost")`, `onSignedOut()`. */
  constructor({ onOverview, onState, onSignedOut }) {
    this.on = { onOverview, onState, onSignedOut };
    this.latest = null;
    this.waitMs = FIRST_MS;
    this.watch = setInterval(() => this.#listen(), 1000);
    document.addEventListener("visibilitychange", () => document.hidden || this.#listen());
    this.#open();
  }

  close() {
    clearInterval(this.watch);
    clearTimeout(this.again);
    clearTimeout(this.telling);
    this.source?.close();
    this.source = null;
    this.closed = true;
  }

  #open() {
    if (this.closed) return;
    this.heard = Date.now();
    this.source = new EventSource("/api/live");
    this.source.addEventListener("overview", (event) => {
      this.heard = Date.now();
      this.waitMs = FIRST_MS;
      this.latest = JSON.parse(event.data);
      clearTimeout(this.telling);
      this.telling = null;
      this.on.onState("live");
      this.on.onOverview(this.latest);
    });
    // It knows only the cookie that it began with; a newer one may count.
    this.source.addEventListener("signed_out", () => this.#lost());
    this.source.addEventListener("error", () => this.#lost());
  }

  #listen() {
    if (!this.closed && this.source && Date.now() - this.heard > SILENT_MS) this.#lost();
  }

  async #lost() {
    this.source?.close();
    this.source = null;
    // A moment's break is not worth a banner.
    this.telling ??= setTimeout(() => this.on.onState("lost"), PATIENCE_MS);
    clearTimeout(this.again);
    this.again = setTimeout(() => this.#retry(), this.waitMs);
    this.waitMs = Math.min(LONGEST_MS, this.waitMs * 1.6);
  }

  async #retry() {
    try {
      const answer = await fetch("/api/session", { credentials: "same-origin", headers: unattended() });
      if (answer.ok && !(await answer.json()).signed_in) {
        this.on.onSignedOut();
        return;
      }
      if (answer.ok) {
        this.#open();
        return;
      }
    } catch {
      // Still away.
    }
    this.#lost();
  }
}
