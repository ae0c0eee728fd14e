// Making elements. Text is always text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

// Control characters, and marks that reverse the order of letters: untrusted text must not imitate other text.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

function plain(text) {
  return text.replace(UNSEEN, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function put(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(typeof child === "string" ? plain(child) : child);
  }
  return node;
}

/** An element: `on` holds listeners, `data` its dataset, `style` custom properties; the rest are attributes. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "style") for (const [key, css] of Object.entries(value)) node.style.setProperty(key, css);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  return put(node, children);
}

/** Replace what a node holds; whatever had the focus keeps it if it is there again (by data-key or id). */
export function fill(node, ...children) {
  const active = document.activeElement;
  const key = node.contains(active) ? active.dataset.key : null;
  put((node.replaceChildren(), node), children);
  if (key) node.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  return node;
}

/** Set text only when it changed: assistive technology and selections are left in peace. */
export function say(node, text) {
  const shown = plain(String(text));
  if (node.textContent !== shown) node.textContent = shown;
  return node;
}

const PATHS = {
  ok: "M5 12.500 10 17.500 19 7",
  warn: "M12 7v6M12 16.500v.5",
  bad: "M8 8l8 8M16 8l-8 8",
  wait: "M7 12h.01M12 12h.01M17 12h.01",
};

/** A small sign; always beside words, so it is hidden from assistive technology. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon ${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
