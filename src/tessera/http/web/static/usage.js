// What the account of a key has used: a table, the same as a chart, and as CSV. Days are those of UTC and stay texts.
import { byId, el, themeButton } from "./dom.js";
import { keepLanguage } from "./language.js";
import { failure } from "./stream.js";
import { number, t } from "./strings.js";
import { saveFile } from "./wire.js";

const COUNTS = ["requests", "failed", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"];
const LIMITS = { limit: "x-ratelimit-limit-requests", left: "x-ratelimit-remaining-requests", reset: "x-ratelimit-reset-requests" };
const main = byId("main");
const utcDay = daysAgo => new Date(Date.now() - daysAgo * 86_400_000).toISOString().slice(0, 10);
const state = { key: sessionStorage.getItem("key") ?? "", since: utcDay(29), until: utcDay(0), by: "day", shown: null };
let place, notice;

function field(label, input) {
  input.id ||= `field-${label}`;
  return el("div", { class: "field" }, el("label", { htmlFor: input.id }, label), input);
}

function chart(rows) {
  const most = Math.max(1, ...rows.map(row => row.completion_tokens));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${t("chart")}: ${rows.map(row => `${row[state.by]} ${number(row.completion_tokens)}`).join(", ")}`.slice(0, 500));
  rows.forEach((row, n) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = (100 * row.completion_tokens) / most;
    for (const [name, value] of Object.entries({ x: (100 * n) / rows.length, width: Math.min(80 / rows.length, 5), y: 100 - height, height }))
      bar.setAttribute(name, String(value));
    svg.append(bar);
  });
  return svg;
}

function table(rows, totals) {
  const line = (head, counts, tag) => el("tr", {}, el("th", { scope: "row" }, head), COUNTS.map(name => el(tag, {}, number(counts[name]))));
  return el("div", { class: "table", tabIndex: 0, role: "group", "aria-label": t("usage") }, el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, t(state.by === "day" ? "day" : "model")), COUNTS.map(name => el("th", { scope: "col" }, t(name))))),
    el("tbody", {}, rows.map(row => line(row[state.by], row, "td"))),
    el("tfoot", {}, line(t("totals"), totals, "th"))));
}

const cell = value => (/[",\n]/.test(value) || /^[=+\-@]/.test(value) ? `"${(/^[=+\-@]/.test(value) ? "'" : "") + value.replaceAll('"', '""')}"` : value);

function csv(rows) {
  const lines = rows.map(row => [cell(String(row[state.by])), ...COUNTS.map(name => row[name])].join(","));
  return [[state.by, ...COUNTS].join(","), ...lines, ""].join("\n");
}

function show() {
  if (!state.shown) return place.replaceChildren();
  const { rows, totals, limits } = state.shown;
  place.replaceChildren(
    el("h2", {}, t("limits")),
    el("p", {}, `${number(limits.limit)} ${t("limit")} · ${t("left")} ${number(limits.left)} · ${number(limits.reset)} ${t("reset")}`),
    el("h2", {}, t("usage")),
    ...(rows.length
      ? [el("p", {}, `${t("chart")} · ${t("utc")}`), chart(rows), table(rows, totals), el("p", {}, el("button", { type: "button", onclick: () => saveFile("usage.csv", csv(rows)) }, t("csv")))]
      : [el("p", {}, t("no_usage"))]),
  );
}

async function load() {
  notice.hidden = true;
  if (!state.key) {
    notice.replaceChildren(el("p", {}, t("no_key")));
    notice.hidden = false;
    return;
  }
  try {
    const query = new URLSearchParams({ by: state.by, since: state.since, until: state.until });
    const answer = await fetch(`/v1/usage?${query}`, { headers: { Authorization: `Bearer ${state.key}` } });
    if (!answer.ok) throw await failure(answer);
    const limits = Object.fromEntries(Object.entries(LIMITS).map(([name, header]) => [name, Number(answer.headers.get(header))]));
    state.shown = { ...(await answer.json()), limits };
    show();
  } catch (error) {
    const advice = error.status === 401 ? t("e401") : error.status ? "" : t("elost");
    notice.replaceChildren(el("p", {}, el("strong", {}, advice), " ", error.message));
    notice.hidden = false;
  }
}

function build() {
  notice = el("div", { role: "alert", class: "notice", hidden: true });
  place = el("div", {});
  const input = (name, properties) => el("input", { value: state[name], oninput: event => (state[name] = event.target.value.trim()), autocomplete: "off", ...properties });
  const by = el("select", { onchange: event => (state.by = event.target.value, state.shown = null, load()) },
    ["day", "model"].map(name => el("option", { value: name, selected: state.by === name }, t(name))));
  main.replaceChildren(el("div", { class: "usage" },
    el("h1", {}, t("usage")),
    el("div", { class: "row" },
      field(t("key"), input("key", { type: "password" })), field(t("since"), input("since", { type: "date" })),
      field(t("until"), input("until", { type: "date" })), field(t("by"), by),
      el("button", { type: "button", class: "primary", onclick: load }, t("show"))),
    notice, place));
  show();
}

keepLanguage(() => true, build);
themeButton();
build();
if (state.key) load();
export { csv };
