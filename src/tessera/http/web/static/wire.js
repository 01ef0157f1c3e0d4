// The wire view: the request as it was sent, each event with the time of its arrival, the headers, and the same as code.
import { copyButton, el, tabList } from "./dom.js";
import { asCurl, asNode, asPython } from "./request.js";
import { number, t } from "./strings.js";

const SHOWN = 200; // rows of events
const EVERY_MS = 300;
const LANGUAGES = { curl: asCurl, Python: asPython, Node: asNode };

export function saveFile(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

export class Wire {
  #state;
  #panel = el("div", { role: "tabpanel", id: "wire-panel", tabIndex: 0 });
  #shown = 0;

  constructor(state) {
    this.#state = state;
  }

  build() {
    const tabs = ["request", "events", "headers", "code"].map(name => [name, t(name), "wire-panel"]);
    const list = tabList(t("wire"), tabs, this.#state.tab, name => {
      this.#state.tab = name;
      this.#panel.setAttribute("aria-labelledby", `tab-${name}`);
      this.show();
    });
    return el("div", {}, list, this.#panel);
  }

  // During a stream the list of events is drawn now and then only.
  progress() {
    if (this.#state.tab === "events" && performance.now() - this.#shown > EVERY_MS) this.show();
  }

  show() {
    this.#shown = performance.now();
    this.#panel.replaceChildren(...this[this.#state.tab]().flat());
  }

  #code(text) {
    return el("div", { class: "code" }, el("pre", { tabIndex: 0 }, el("code", {}, text)), copyButton(t("copy"), t("copied"), () => text));
  }

  #body() {
    return this.#state.exchange?.request ?? this.#state.preview();
  }

  request() {
    return [el("p", { class: "mono" }, "POST /v1/chat/completions"), this.#code(JSON.stringify(this.#body(), null, 2))];
  }

  events() {
    const events = this.#state.exchange?.events ?? [];
    if (!events.length) return [el("p", {}, t("nothing_yet"))];
    const last = events.slice(-SHOWN);
    const all = () => saveFile("events.txt", events.map(([at, data]) => `${at.toFixed(1)} ms\t${data}\n`).join(""));
    return [
      events.length > SHOWN && el("p", {}, t("only_last", { n: SHOWN, all: number(events.length) })),
      el("button", { type: "button", onclick: all }, t("download")),
      el("ol", { class: "events", start: events.length - last.length + 1 }, last.map(([at, data]) =>
        el("li", {}, el("span", { class: "time" }, `${number(at, 1)} ms`), " ", el("code", {}, data)))),
    ].filter(Boolean);
  }

  headers() {
    const exchange = this.#state.exchange;
    if (!exchange?.status) return [el("p", {}, t("nothing_yet"))];
    return [
      el("p", { class: "mono" }, `HTTP ${exchange.status} · ${number(exchange.headMs, 1)} ms`),
      el("table", {}, el("tbody", {}, exchange.headers.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, el("code", {}, name)), el("td", {}, el("code", {}, value)))))),
    ];
  }

  code() {
    const place = el("div", { role: "tabpanel", id: "code-panel" });
    const write = language => {
      this.#state.language = language;
      place.replaceChildren(this.#code(LANGUAGES[language](this.#body(), location.origin)));
    };
    return [tabList(t("code"), Object.keys(LANGUAGES).map(name => [name, name, "code-panel"]), this.#state.language, write), place];
  }
}
