// What the account of a key has used: a table, the same as a chart, and as CSV. Days are those of UTC and stay texts.
import { advice } from "./advice.js";
import { byId, el, themeButton } from "./dom.js";
import { keepLanguage } from "./language.js";
import { budgets, groupName, report } from "./report.js";
import { failure } from "./stream.js";
import { number, t } from "./strings.js";

const LIMITS = { limit: "x-ratelimit-limit-requests", left: "x-ratelimit-remaining-requests", reset: "x-ratelimit-reset-requests" };
const main = byId("main");
const utcDay = daysAgo => new Date(Date.now() - daysAgo * 86_400_000).toISOString().slice(0, 10);
const state = { key: sessionStorage.getItem("key") ?? "", since: utcDay(29), until: utcDay(0), by: "day", shown: null };
let place, notice;

function field(label, input) {
  input.id ||= `field-${label}`;
  return el("div", { class: "field" }, el("label", { htmlFor: input.id }, label), input);
}

function show() {
  if (!state.shown) return place.replaceChildren();
  const { rows, totals, limits, budgets: ofBudgets } = state.shown;
  place.replaceChildren(
    el("h2", {}, t("limits")),
    el("p", {}, t("limits_now", Object.fromEntries(Object.entries(limits).map(([name, value]) => [name, number(value)])))),
    ...budgets(ofBudgets),
    el("h2", {}, t("usage")),
    ...(rows.length
      ? report(rows, totals, state.by)
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
    notice.replaceChildren(el("p", {}, el("strong", {}, advice(error)), " ", error instanceof TypeError ? "" : error.message));
    notice.hidden = false;
  }
}

function build() {
  notice = el("div", { role: "alert", class: "notice", hidden: true });
  place = el("div", {});
  const input = (name, properties) => el("input", { value: state[name], oninput: event => (state[name] = event.target.value.trim()), autocomplete: "off", ...properties });
  const by = el("select", { onchange: event => (state.by = event.target.value, state.shown = null, load()) },
    ["day", "model"].map(name => el("option", { value: name, selected: state.by === name }, groupName(name))));
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
