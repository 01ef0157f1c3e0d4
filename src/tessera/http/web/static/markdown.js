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

const row = (tag, cells) => el("tr", {}, cells.map(cell => el(tag, {}, all(cell.tokens, inline))));

function block(token) {
  switch (token.type) {
    case "space": case "def": return [];
    case "text": return token.tokens ? all(token.tokens, inline) : [plain(token.text)];
    case "paragraph": return [el("p", {}, all(token.tokens, inline))];
    case "heading": return [el(`h${Math.min(6, token.depth + 3)}`, {}, all(token.tokens, inline))];
    case "code": return [el("pre", { tabIndex: 0 }, el("code", {}, token.text))];
    case "blockquote": return [el("blockquote", {}, all(token.tokens, block))];
    case "hr": return [el("hr")];
    case "list": {
      const items = token.items.map(item => el("li", {}, all(item.tokens, block)));
      return [el(token.ordered ? "ol" : "ul", token.ordered && token.start > 1 ? { start: token.start } : {}, items)];
    }
    case "table": return [el("div", { class: "table", tabIndex: 0 },
      el("table", {}, el("thead", {}, row("th", token.header)), el("tbody", {}, token.rows.map(cells => row("td", cells)))))];
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
    const tokens = lexer(this.#rest);
    let settled = tokens.length;
    if (!last) {
      settled = Math.max(0, settled - 1);
      while (settled > 0 && tokens[settled - 1].type === "space") settled--;
    }
    for (const node of this.#nodes) node.remove();
    const done = tokens.slice(0, settled);
    this.#root.append(...all(done, block));
    this.#rest = this.#rest.slice(done.reduce((length, token) => length + token.raw.length, 0));
    this.#nodes = all(tokens.slice(settled), block).map(node => (typeof node === "string" ? new Text(node) : node));
    this.#root.append(...this.#nodes);
    this.#ondraw();
  }
}
