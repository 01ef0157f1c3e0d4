// The console's view of the load now: from the metrics, and from the requests that are being answered.
import { ask, attempt, confirmed, read, table } from "./admin.js";
import { el } from "./dom.js";
import { byLabel, mean, parseMetrics, rate, sum } from "./metrics.js";
import { groupName } from "./report.js";
import { number, t } from "./strings.js";

const MOST = 30;
let before = null;
let buttons = new Map(); // to cancel a request, by its id: kept, so that a redrawing takes none away under the hand

export function restart() {
  before = null;
  buttons = new Map();
}

export async function live(panel, isOpen) {
  const text = await (await ask("/metrics")).text();
  const { rows, problem } = await requests();
  const now = { at: performance.now(), samples: parseMetrics(text), tokens: new Map(rows?.map(row => [row.id, row.tokens])) };
  const last = before;
  before = now;
  if (!isOpen()) return;
  const focused = document.activeElement; // a button that is moved to the new table loses the focus
  const shown = [
    figures(now, last, rows),
    el("h2", {}, t("longest")), ...(problem ? [el("p", {}, problem)] : running(rows)),
    el("h2", {}, t("errors")), errors(now.samples),
  ];
  panel.replaceChildren(...shown);
  if (focused !== document.activeElement && panel.contains(focused)) focused.focus();
}

function figures({ at, samples, tokens }, last, rows) {
  const seconds = last ? (at - last.at) / 1000 : 0;
  const first = mean(samples, last?.samples, "tessera_time_to_first_token_seconds");
  const kv = samples.filter(each => each.name === "tessera_kv_cache_usage_perc");
  const restarts = samples.filter(each => each.name === "tessera_engine_restarts_total");
  const model = each => each.labels.model_name ?? each.labels.model ?? "";
  const values = [
    [t("running"), number(sum(samples, "tessera_num_requests_running"))],
    [t("waiting_requests"), number(sum(samples, "tessera_num_requests_waiting"))],
    ["tokens/s", number(rows ? growth(tokens, last?.tokens, seconds) : rate(samples, last?.samples, "tessera_generation_tokens_total", seconds), 1)],
    [t("first"), first === null ? "—" : `${number(1000 * first)} ms`],
    ...kv.map(each => [`KV ${model(each)}`, `${number(100 * each.value, 1)} %`]),
    ...restarts.map(each => [`${t("restarts")} ${model(each)}`, number(each.value)]),
    [t("store"), sum(samples, "tessera_store_up") ? t("up") : t("down")],
  ];
  return el("dl", { class: "figures" }, values.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

// Of the requests that run; the metrics count a reply's tokens when it has ended.
function growth(tokens, last, seconds) {
  if (!last || !seconds) return 0;
  return [...tokens].reduce((total, [id, n]) => total + n - (last.get(id) ?? 0), 0) / seconds;
}

// An error of this question is shown in the place of its answer, and hides nothing else.
async function requests() {
  try {
    return { rows: (await read("/admin/requests")).requests.map(request) };
  } catch (error) {
    return { problem: error.message };
  }
}

// A request that is still being read has no reply, and so no id of one.
function request(row) {
  return {
    id: row.id ?? row.request_id, account: row.account ?? "", model: row.model ?? "", client: row.client ?? "", step: row.step,
    seconds: row.age_s, tokens: row.completion_tokens,
  };
}

function running(rows) {
  if (!rows.length) return [el("p", {}, "—")];
  const longest = rows.toSorted((a, b) => b.seconds - a.seconds).slice(0, MOST);
  const cells = row => [el("code", {}, row.id), row.account, row.model, row.client, row.step, number(row.seconds, 1), number(row.tokens), canceller(row.id)];
  return [
    table(t("longest"), ["id", t("account"), groupName("model"), t("client"), t("step"), t("seconds"), "tokens", ""], longest.map(cells)),
    el("h2", {}, t("per_account")),
    table(t("per_account"), [t("account"), groupName("model"), t("requests")], counted(rows)),
  ];
}

function canceller(id) {
  if (!buttons.has(id)) buttons.set(id, confirmed(t("cancel"), node => attempt(async () => {
    await ask(`/admin/requests/${encodeURIComponent(id)}/cancel`, "POST");
    node.disabled = true;
    node.textContent = t("cancelled");
  })));
  return buttons.get(id);
}

function counted(rows) {
  const found = new Map();
  for (const { account, model } of rows) {
    const name = JSON.stringify([account, model]);
    found.set(name, (found.get(name) ?? 0) + 1);
  }
  return [...found].sort((a, b) => b[1] - a[1]).slice(0, MOST).map(([name, n]) => [...JSON.parse(name), number(n)]);
}

function errors(samples) {
  const codes = byLabel(samples, "tessera_request_failure_total", "code");
  if (!codes.length) return el("p", {}, "—");
  return table(t("errors"), [t("error_code"), t("requests")], codes.map(([code, n]) => [el("code", {}, code), number(n)]));
}
