// Draws Markdown while it arrives. Blocks that cannot change any more are built once; only the last one is read again,
// once a frame, and less often when that takes long. Nodes are made one by one: no text of a model ever becomes HTML.
import { lexer } from "./vendor/marked.js";
import { el } from "./dom.js";

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'", nbsp: "\u00a0" };
const SCHEMES = ["http:", "https:", "mailto:"];
const plain = text => text.replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (_, name) => ENTITIES[name]);
const all = (tokens, draw) => (tokens ?? []).flatMap(token => draw(token));

function address(href) {
  try {
    const url = new URL(plain(href));
    return SCHEMES.includes(url.protocol) ? url.href : null;
  } catch {
    return null; // relative links of a model lead nowhere
  }
}

function inline(token) {
  switch (token.type) {
    case "text": return token.tokens ? all(token.tokens, inline) : [plain(token.text)];
    case "escape": return [token.text];
    case "strong": case "em": case "del": return [el(token.type, {}, all(token.tokens, inline))];
    case "codespan": return [el("code", {}, token.text)];
    case "br": return [el("br")];
    case "checkbox": return [token.checked ? "☑ " : "☐ "];
    case "image": return [token.text || token.href];
    case "link": {
      const href = address(token.href);
      const shown = all(token.tokens, inline);
      return href ? [el("a", { href, rel: "noopener noreferrer nofollow", target: "_blank" }, shown)] : shown;
    }
    default: return [token.raw]; // HTML too is shown as it was written
  }
}

// Lists and tables grow part by part: `body` is where their items or rows go.
function container(token) {
  if (token.type === "list") {
    const start = token.ordered && token.start > 1 ? { start: token.start } : {};
    const list = el(token.ordered ? "ol" : "ul", start);
    return { node: list, body: list };
  }
  const body = el("tbody");
  return { node: el("div", { class: "table", tabIndex: 0 }, el("table", {}, el("thead", {}, row("th", token.header)), body)), body };
}

function parts(token) {
  if (token.type === "table") return token.rows.map(cells => row("td", cells));
  return token.items.map(item => el("li", {}, all(item.tokens, block)));
}

// How much of a list or a table cannot change any more: its length, and what the rest needs before it to be read alone.
function settledPart(token) {
  if (token.type === "list") {
    const done = token.items.slice(0, -1);
    return { n: done.length, length: done.reduce((sum, item) => sum + item.raw.length, 0), prefix: "" };
  }
  const lines = token.raw.split("\n").slice(0, 2 + token.rows.length - 1);
  const prefix = `${lines.slice(0, 2).join("\n")}\n`;
  return { n: token.rows.length - 1, length: lines.join("\n").length + 1, prefix };
}

const row = (tag, cells) => el("tr", {}, cells.map(cell => el(tag, {}, all(cell.tokens, inline))));

function block(token) {
  switch (token.type) {
    case "space": case "def": return [];
    case "checkbox": return inline(token);
    case "text": return token.tokens ? all(token.tokens, inline) : [plain(token.text)];
    case "paragraph": return [el("p", {}, all(token.tokens, inline))];
    case "heading": return [el(`h${Math.min(6, token.depth + 3)}`, {}, all(token.tokens, inline))];
    case "code": return [el("pre", { tabIndex: 0 }, el("code", {}, token.text))];
    case "blockquote": return [el("blockquote", {}, all(token.tokens, block))];
    case "hr": return [el("hr")];
    case "list": case "table": {
      const { node, body } = container(token);
      body.append(...parts(token));
      return [node];
    }
    default: return [el("p", {}, token.raw)];
  }
}

export function drawMarkdown(root, text) {
  root.replaceChildren(...all(lexer(text), block));
}

export class MarkdownStream {
  #root;
  #rest = ""; // what is not settled
  #nodes = []; // what shows it
  #open = null; // the list or table at the end, of which only the last part may change
  #frame = 0;
  #next = 0; // not drawn again before
  #ondraw;

  constructor(root, ondraw = () => {}) {
    this.#root = root;
    this.#ondraw = ondraw;
  }

  push(text) {
    this.#rest += text;
    this.#frame ||= requestAnimationFrame(now => this.#tick(now));
  }

  end() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#draw(true);
  }

  // Draws what has come; the stream does so by itself, once a frame.
  draw() {
    this.#draw(false);
  }

  #tick(now) {
    this.#frame = 0;
    if (now < this.#next) {
      this.#frame = requestAnimationFrame(later => this.#tick(later));
      return;
    }
    const started = performance.now();
    this.#draw(false);
    const took = performance.now() - started;
    if (took > 5) this.#next = now + Math.min(2000, 8 * took);
  }

  #draw(last) {
    const prefix = this.#open?.prefix ?? "";
    const tokens = lexer(prefix + this.#rest);
    while (tokens.at(-1)?.type === "space" && !last) tokens.pop();
    for (const node of this.#nodes) node.remove();
    this.#nodes = [];
    let used = 0;
    tokens.forEach((token, n) => {
      if (n === tokens.length - 1 && !last) used += this.#grow(token, used);
      else {
        if (n === 0 && this.#open?.type === token.type) this.#open.body.append(...parts(token));
        else this.#root.append(...block(token));
        this.#open = null;
        used += token.raw.length;
      }
    });
    this.#rest = this.#rest.slice(Math.max(0, used - prefix.length));
    this.#ondraw();
  }

  // Draws the token that may still change, and returns how much of it is settled.
  #grow(token, used) {
    const keeps = used === 0 && this.#open?.type === token.type;
    const grows = token.type === "list" || token.type === "table";
    const part = grows ? settledPart(token) : { n: 0, length: 0 };
    if (!keeps && part.n < 1) {
      this.#open = null;
      this.#nodes = block(token).map(node => (typeof node === "string" ? new Text(node) : node));
      this.#root.append(...this.#nodes);
      return 0;
    }
    if (!keeps) {
      this.#open = { type: token.type, prefix: "", ...container(token) };
      this.#root.append(this.#open.node);
    }
    const nodes = parts(token);
    this.#open.body.append(...nodes);
    this.#nodes = nodes.slice(Math.max(0, part.n));
    if (part.n < 1) return this.#open.prefix.length;
    const length = part.length;
    this.#open.prefix = part.prefix;
    return length;
  }
}
