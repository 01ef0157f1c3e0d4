// What all pages of the console share: requests with the admin key, which stays in memory, and the parts they are made of.
import { el } from "./dom.js";
import { failure } from "./stream.js";
import { number, t } from "./strings.js";

const PAGE = 50;
const TYPING_MS = 300;
export const admin = { key: "", notice: null };
export const utcDay = daysAgo => new Date(Date.now() - daysAgo * 86_400_000).toISOString().slice(0, 10);
export const utcTime = seconds => (seconds ? new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ") : "—");

export async function ask(path, method = "GET", body = undefined) {
  const headers = { Authorization: `Bearer ${admin.key}`, ...(body && { "Content-Type": "application/json" }) };
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw await failure(answer);
  return answer;
}
export const read = async (...request) => (await ask(...request)).json();

export function complain(error) {
  const advice = error.status === 401 ? t("admin_401") : error.status ? "" : t("elost");
  admin.notice.replaceChildren(el("p", {}, el("strong", {}, advice), " ", advice ? "" : error.message));
  admin.notice.hidden = false;
}

export async function attempt(work) {
  admin.notice.hidden = true;
  try {
    return await work();
  } catch (error) {
    complain(error);
    return undefined;
  }
}

let made = 0;
export function field(label, input) {
  input.id ||= `console-${++made}`;
  return el("div", { class: "field" }, el("label", { htmlFor: input.id }, label), input);
}
export const button = (text, onclick, properties = {}) => el("button", { type: "button", onclick, ...properties }, text);
export const select = (values, chosen, onchange, name = value => value) =>
  el("select", { onchange }, values.map(value => el("option", { value, selected: value === chosen }, name(value))));

export function table(label, heads, rows) {
  return el("div", { class: "table", tabIndex: 0, role: "group", "aria-label": label }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map(head => (head ? el("th", { scope: "col", "aria-sort": head.dataset?.sort }, head) : el("td"))))),
    el("tbody", {}, rows.map(cells => el("tr", {}, cells.map(cell => el("td", {}, cell)))))));
}

// A dangerous button asks once more in its own place.
export function confirmed(text, work) {
  const node = button(text, () => {
    if (node.dataset.armed) return work(node);
    node.dataset.armed = "1";
    node.textContent = t("sure");
    setTimeout(() => {
      delete node.dataset.armed;
      if (node.textContent === t("sure")) node.textContent = text;
    }, 4000);
  });
  return node;
}

// A list that the server searches, sorts and cuts into pages, however long it is.
export class PagedList {
  #list = el("div", {});
  #cursors = [null]; // that of each page up to this one
  #asked = 0;

  // `cells(row)` are those of `columns` and of one more, for buttons.
  constructor({ path, label, columns, sort, cells }) {
    Object.assign(this, { path, label, columns, sort, cells });
    let typing = 0;
    this.search = el("input", { type: "search", oninput: () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#restart(), TYPING_MS);
    } });
  }

  build() {
    return [field(t("search"), this.search), this.#list];
  }

  load = () => attempt(async () => {
    const asked = ++this.#asked;
    const query = new URLSearchParams({ limit: PAGE, sort: this.sort });
    if (this.search.value.trim()) query.set("q", this.search.value.trim());
    if (this.#cursors.at(-1)) query.set("cursor", this.#cursors.at(-1));
    const answer = await ask(`${this.path}?${query}`);
    const rows = await answer.json();
    if (asked !== this.#asked) return; // another order has been asked for since
    const following = /^<([^>]+)>; rel="next"/.exec(answer.headers.get("link") ?? "");
    const next = following && new URL(following[1], location.origin).searchParams.get("cursor");
    this.#draw(rows, Number(answer.headers.get("x-total-count")), next);
  });

  #restart() {
    this.#cursors = [null];
    return this.load();
  }

  #head(column) {
    const sorted = this.sort.replace(/^-/, "") === column;
    const down = this.sort.startsWith("-");
    const head = button(t(column) + (sorted ? (down ? " ↓" : " ↑") : ""), async () => {
      this.sort = sorted && !down ? `-${column}` : column;
      await this.#restart();
      this.#list.querySelector("[aria-sort] button")?.focus();
    }, { class: "plain" });
    if (sorted) head.dataset.sort = down ? "descending" : "ascending";
    return head;
  }

  #draw(rows, found, next) {
    const page = this.#cursors.length;
    const turn = change => () => {
      change();
      this.load();
    };
    this.#list.replaceChildren(
      table(this.label, [...this.columns.map(column => this.#head(column)), ""], rows.map(this.cells)),
      el("div", { class: "buttons" },
        button("‹", turn(() => this.#cursors.pop()), { disabled: page === 1, "aria-label": t("previous") }),
        el("span", { role: "status" }, `${number(page)} / ${number(Math.max(1, Math.ceil(found / PAGE)))} · ${number(found)}`),
        button("›", turn(() => this.#cursors.push(next)), { disabled: !next, "aria-label": t("next") })));
  }
}
