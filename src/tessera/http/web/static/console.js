// The operator's console on the admin listener: live load, accounts, keys, usage and audit. The admin key stays in memory.
import { byId, copyButton, el, tabList, themeButton } from "./dom.js";
import { keepLanguage } from "./language.js";
import { byLabel, mean, parseMetrics, rate, sum } from "./metrics.js";
import { report } from "./report.js";
import { failure } from "./stream.js";
import { number, t } from "./strings.js";

const main = byId("main");
const EVERY_MS = 2000;
const PAGE = 50;
const TIERS = ["lite", "pro", "scale", "enterprise", "operator"];
const utcDay = daysAgo => new Date(Date.now() - daysAgo * 86_400_000).toISOString().slice(0, 10);
const utcTime = seconds => (seconds ? new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ") : "—");
const state = {
  key: "", tab: "live", timer: 0, before: null, search: "", sort: "created_s", down: true, page: 0,
  usage: { since: utcDay(29), until: utcDay(0), by: "day", account: "" },
};
let panel, notice;

async function ask(path, method = "GET", body = undefined) {
  const headers = { Authorization: `Bearer ${state.key}`, ...(body && { "Content-Type": "application/json" }) };
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw await failure(answer);
  return answer;
}
const read = async (...request) => (await ask(...request)).json();

function complain(error) {
  const advice = error.status === 401 ? t("admin_401") : error.status ? "" : t("elost");
  notice.replaceChildren(el("p", {}, el("strong", {}, advice), " ", error.message));
  notice.hidden = false;
}

async function attempt(work) {
  notice.hidden = true;
  try {
    return await work();
  } catch (error) {
    complain(error);
    return undefined;
  }
}

let made = 0;
function field(label, input) {
  input.id ||= `console-${++made}`;
  return el("div", { class: "field" }, el("label", { htmlFor: input.id }, label), input);
}
const button = (text, onclick, properties = {}) => el("button", { type: "button", onclick, ...properties }, text);
const select = (values, chosen, onchange) => el("select", { onchange }, values.map(value => el("option", { value, selected: value === chosen }, value)));

function table(label, heads, rows) {
  return el("div", { class: "table", tabIndex: 0, role: "group", "aria-label": label }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map(head => (head ? el("th", { scope: "col", "aria-sort": head.dataset?.sort }, head) : el("td"))))),
    el("tbody", {}, rows.map(cells => el("tr", {}, cells.map(cell => el("td", {}, cell)))))));
}

// A dangerous button asks once more in its own place.
function confirmed(text, work) {
  const node = button(text, () => {
    if (node.dataset.armed) return work();
    node.dataset.armed = "1";
    node.textContent = t("sure");
    setTimeout(() => {
      delete node.dataset.armed;
      node.textContent = text;
    }, 4000);
  });
  return node;
}

async function live() {
  const text = await (await ask("/metrics")).text();
  const { rows, problem } = await requests();
  const now = { at: performance.now(), samples: parseMetrics(text), tokens: new Map(rows?.map(row => [row.request_id, row.completion_tokens])) };
  const before = state.before;
  state.before = now;
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  const samples = now.samples;
  const first = mean(samples, before?.samples, "tessera_time_to_first_token_seconds");
  const kv = samples.filter(each => each.name === "tessera_kv_cache_usage_perc");
  const figures = [
    [t("running"), number(sum(samples, "tessera_num_requests_running"))],
    [t("waiting_requests"), number(sum(samples, "tessera_num_requests_waiting"))],
    ["tokens/s", number(rows ? growth(now.tokens, before?.tokens, seconds) : rate(samples, before?.samples, "tessera_generation_tokens_total", seconds), 1)],
    [t("first"), first === null ? "—" : `${number(1000 * first)} ms`],
    ...kv.map(each => [`KV ${each.labels.model_name ?? each.labels.model ?? ""}`, `${number(100 * each.value, 1)} %`]),
    [t("store"), sum(samples, "tessera_store_up") ? t("up") : t("down")],
  ];
  const errors = byLabel(samples, "tessera_request_failure_total", "code");
  const shown = [
    el("dl", { class: "figures" }, figures.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    el("h2", {}, t("longest")), problem ? el("p", {}, problem) : running(rows),
    el("h2", {}, t("errors")),
    errors.length ? table(t("errors"), ["code", t("requests")], errors.map(([code, n]) => [el("code", {}, code), number(n)])) : el("p", {}, "—"),
  ];
  if (state.tab === "live") panel.replaceChildren(...shown);
}

// Of the requests that run; the metrics count a reply's tokens when it has ended.
function growth(tokens, before, seconds) {
  if (!before || !seconds) return 0;
  return [...tokens].reduce((total, [id, n]) => total + n - (before.get(id) ?? 0), 0) / seconds;
}

// Several API processes do not show their requests here; the server's message says so.
async function requests() {
  try {
    return { rows: (await read("/admin/debug/requests")).requests };
  } catch (error) {
    return { problem: error.message };
  }
}

function running(rows) {
  if (!rows.length) return el("p", {}, "—");
  const longest = rows.toSorted((a, b) => b.age_s - a.age_s).slice(0, 30);
  return table(t("longest"), ["request_id", t("account"), t("model"), t("step"), "s", "tokens"], longest.map(row =>
    [el("code", {}, row.request_id), row.account, row.model ?? "", row.step, number(row.age_s, 1), number(row.completion_tokens)]));
}

async function accounts() {
  const rows = await read("/admin/accounts");
  const name = el("input", { autocomplete: "off" });
  const tier = select(TIERS, "lite");
  const create = () => attempt(async () => {
    await ask("/admin/accounts", "POST", { name: name.value, tier: tier.value });
    await accounts();
  });
  const change = (row, changes) => attempt(async () => {
    await ask(`/admin/accounts/${encodeURIComponent(row.id)}`, "PATCH", changes);
    await accounts();
  });
  panel.replaceChildren(
    el("div", { class: "row" }, field(t("account"), name), field(t("tier"), tier), button(t("create"), create, { class: "primary" })),
    table(t("accounts"), [t("account"), t("tier"), t("state"), t("created"), ""], rows.map(row => {
      const tiers = select([...new Set([row.tier, ...TIERS])], row.tier, event => change(row, { tier: event.target.value }));
      tiers.setAttribute("aria-label", `${t("tier")}: ${row.name}`);
      const off = row.disabled_s !== null;
      return [row.name, tiers, off ? t("disabled") : t("active"), utcTime(row.created_s),
        off ? button(t("enable"), () => change(row, { disabled: false })) : confirmed(t("disable"), () => change(row, { disabled: true }))];
    })));
}

const COLUMNS = ["account", "name", "state", "last4", "created_s", "last_used_s", "expires_s"];

async function keys() {
  const rows = await read("/admin/keys");
  const secret = el("div", { role: "status" });
  const list = el("div", {});
  const [account, name, expires, models] = ["text", "text", "date", "text"].map(type => el("input", { type, autocomplete: "off" }));
  const create = () => attempt(async () => {
    const body = { account: account.value, name: name.value };
    if (expires.value) body.expires_s = Date.parse(`${expires.value}T00:00:00Z`) / 1000;
    const named = models.value.split(",").map(each => each.trim()).filter(Boolean);
    if (named.length) body.models = named;
    const key = await read("/admin/keys", "POST", body);
    rows.unshift(key);
    secret.replaceChildren(el("p", {}, t("once"), " ", el("code", {}, key.secret), " ", copyButton(t("copy"), t("copied"), () => key.secret)));
    draw();
  });
  const revoke = row => attempt(async () => {
    Object.assign(row, await read(`/admin/keys/${row.id}/revoke`, "POST"));
    draw();
  });
  const search = el("input", { type: "search", value: state.search, oninput: () => (state.search = search.value, state.page = 0, draw()) });
  function head(column) {
    const arrow = state.sort === column ? (state.down ? " ↓" : " ↑") : "";
    const sorted = button(t(column) + arrow, () => {
      state.down = state.sort === column ? !state.down : false;
      state.sort = column;
      draw();
    }, { class: "plain" });
    if (arrow) sorted.dataset.sort = state.down ? "descending" : "ascending";
    return sorted;
  }
  function draw() {
    const wanted = state.search.toLowerCase();
    const hits = rows.filter(row => !wanted || `${row.account} ${row.name} ${row.last4} ${row.id} ${row.state}`.toLowerCase().includes(wanted));
    const order = (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : a < b ? -1 : 1);
    hits.sort((a, b) => order(a[state.sort], b[state.sort]) * (state.down ? -1 : 1));
    const pages = Math.max(1, Math.ceil(hits.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    const turn = by => () => (state.page += by, draw());
    list.replaceChildren(
      table(t("keys"), [...COLUMNS.map(head), ""], hits.slice(state.page * PAGE, (state.page + 1) * PAGE).map(row => [
        ...COLUMNS.map(column => (column.endsWith("_s") ? utcTime(row[column]) : String(row[column]))),
        row.state === "revoked" ? "" : confirmed(t("revoke"), () => revoke(row))])),
      el("div", { class: "buttons" }, button("‹", turn(-1), { disabled: state.page === 0, "aria-label": t("previous") }),
        el("span", {}, `${state.page + 1} / ${pages} · ${number(hits.length)}`),
        button("›", turn(1), { disabled: state.page >= pages - 1, "aria-label": t("next") })));
  }
  draw();
  panel.replaceChildren(
    el("div", { class: "row" }, field(t("account"), account), field(t("name"), name), field(t("expires"), expires), field(t("models"), models), button(t("create"), create, { class: "primary" })),
    secret, field(t("search"), search), list, el("p", {}, t("utc")));
}

async function usage() {
  const place = el("div", { class: "usage" });
  const show = () => attempt(async () => {
    const query = new URLSearchParams(Object.entries(state.usage).filter(([, value]) => value));
    const { rows, totals } = await read(`/admin/usage?${query}`);
    place.replaceChildren(...(rows.length ? report(rows, totals, state.usage.by) : [el("p", {}, t("no_usage"))]));
  });
  const input = (name, type) => el("input", { type, value: state.usage[name], oninput: event => (state.usage[name] = event.target.value.trim()) });
  const by = select(["day", "account", "key", "model"], state.usage.by, event => (state.usage.by = event.target.value));
  panel.replaceChildren(
    el("div", { class: "row" }, field(t("since"), input("since", "date")), field(t("until"), input("until", "date")), field(t("by"), by), field(t("account"), input("account", "text")), button(t("show"), show, { class: "primary" })), place);
  await show();
}

async function audit() {
  const list = el("div", {});
  const shown = [];
  const older = button(t("older"), () => attempt(more));
  async function more() {
    const before = shown.length ? `?before=${shown.at(-1).id}` : "";
    const rows = await read(`/admin/audit${before}`);
    shown.push(...rows);
    older.disabled = !rows.length;
    list.replaceChildren(table(t("audit"), [t("when"), t("who"), t("what"), t("subject"), t("detail")], shown.map(row => [
      utcTime(row.at_s), row.actor, row.action, el("code", {}, row.subject), el("code", {}, JSON.stringify(row.detail))])));
  }
  panel.replaceChildren(list, older, el("p", {}, t("utc")));
  await more();
}

const TABS = { live, accounts, keys, usage, audit };

function open(name) {
  clearInterval(state.timer);
  state.tab = name;
  state.before = null;
  panel.setAttribute("aria-labelledby", `tab-${name}`);
  panel.replaceChildren(el("p", {}, "…"));
  attempt(TABS[name]);
  if (name === "live") state.timer = setInterval(() => document.hidden || live().catch(complain), EVERY_MS);
}

function signIn() {
  const key = el("input", { type: "password", autocomplete: "off", spellcheck: false });
  const enter = () => attempt(async () => {
    state.key = key.value.trim();
    try {
      await ask("/admin/audit?limit=1");
    } catch (error) {
      state.key = "";
      throw error;
    }
    build();
  });
  key.addEventListener("keydown", event => event.key === "Enter" && enter());
  return [el("div", { class: "row" }, field(t("admin_key"), key), button(t("sign_in"), enter, { class: "primary" })), el("p", {}, t("admin_hint"))];
}

function build() {
  clearInterval(state.timer);
  notice = el("div", { role: "alert", class: "notice", hidden: true });
  panel = el("div", { role: "tabpanel", id: "panel", tabIndex: 0 });
  const page = el("div", { class: "usage console" }, el("h1", {}, t("console")), notice);
  main.replaceChildren(page);
  if (!state.key) return page.append(...signIn());
  const tabs = Object.keys(TABS).map(name => [name, t(name), "panel"]);
  const out = button(t("sign_out"), () => (state.key = "", build()));
  return page.append(tabList(t("console"), tabs, state.tab, open), panel, el("p", {}, out));
}

keepLanguage(() => true, build);
themeButton();
build();
