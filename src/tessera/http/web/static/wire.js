// The wire view: the request as it was sent, each event with the time of its arrival, the headers, and the same as code.
import { copyButton, el, saveFile, tabList } from "./dom.js";
import { asCurl, asNode, asPython } from "./request.js";
import { number, t } from "./strings.js";

const SHOWN = 200; // rows of events
const EVERY_MS = 300;
const LANGUAGES = { curl: asCurl, Python: asPython, Node: asNode };

export class Wire {
  #state;
  #panel = el("div", { role: "tabpanel", id: "wire-panel", tabIndex: 0 });
  #choice = el("div", {});
  #offered = null;
  #shown = 0;

  constructor(state) {
    this.#state = state;
  }

  build() {
    this.#offered = null;
    const tabs = ["request", "events", "headers", "code"].map(name => [name, t(name), "wire-panel"]);
    const list = tabList(t("wire"), tabs, this.#state.tab, name => {
      this.#state.tab = name;
      this.#panel.setAttribute("aria-labelledby", `tab-${name}`);
      this.show();
    });
    return el("div", {}, this.#choice, list, this.#panel);
  }

  // Which of the requests of a turn is shown.
  #choose() {
    const { exchanges, exchange } = this.#state;
    if (exchanges === this.#offered) return;
    this.#offered = exchanges;
    if (exchanges.length < 2) return this.#choice.replaceChildren();
    const select = el("select", { id: "exchange", onchange: () => (this.#state.exchange = select.selectedIndex, this.show()) },
      exchanges.map(({ title }, n) => el("option", { selected: n === exchange }, title)));
    return this.#choice.replaceChildren(el("div", { class: "field" }, el("label", { htmlFor: "exchange" }, t("request")), select));
  }

  #exchange() {
    return this.#state.exchanges[this.#state.exchange];
  }

  // During a stream the list of events is drawn now and then only.
  progress() {
    if (this.#state.tab === "events" && performance.now() - this.#shown > EVERY_MS) this.show();
  }

  show() {
    this.#shown = performance.now();
    this.#choose();
    this.#panel.replaceChildren(...this[this.#state.tab]().flat());
  }

  #code(text) {
    return el("div", { class: "code" }, el("pre", { tabIndex: 0 }, el("code", {}, text)), copyButton(t("copy"), t("copied"), () => text));
  }

  #body() {
    return this.#exchange()?.request ?? this.#state.preview();
  }

  request() {
    return [el("p", { class: "mono" }, "POST /v1/chat/completions"), this.#code(JSON.stringify(this.#body(), null, 2))];
  }

  events() {
    const events = this.#exchange()?.events ?? [];
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
    const exchange = this.#exchange();
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
