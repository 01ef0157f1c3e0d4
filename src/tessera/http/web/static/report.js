// Usage as a chart, the same as a table, and as CSV; and budgets. Days are those of UTC and stay texts.
import { el, saveFile } from "./dom.js";
import { number, t } from "./strings.js";

const COUNTS = ["requests", "failed", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"];
const SVG = "http://www.w3.org/2000/svg";

// What rows are grouped by, as the head of a column.
export const groupName = by => (by === "model" ? t("model").toLowerCase() : t(by));

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}

function chart(rows, by) {
  const most = Math.max(1, ...rows.map(row => row.completion_tokens));
  const label = rows.slice(0, 31).map(row => `${row[by]} ${number(row.completion_tokens)}`).join(", ");
  const drawing = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": `${t("chart")}: ${label}` });
  const step = 100 / rows.length;
  rows.forEach((row, n) => {
    const height = (100 * row.completion_tokens) / most;
    drawing.append(svg("rect", { x: n * step, width: Math.min(0.8 * step, 5), y: 100 - height, height }));
  });
  return drawing;
}

function table(rows, totals, by) {
  const line = (head, counts, tag) => el("tr", {}, el("th", { scope: "row" }, head), COUNTS.map(name => el(tag, {}, number(counts[name]))));
  return el("div", { class: "table", tabIndex: 0, role: "group", "aria-label": t("usage") }, el("table", {},
    el("thead", {}, el("tr", {}, [groupName(by), ...COUNTS.map(name => t(name))].map(name => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map(row => line(row[by], row, "td"))),
    el("tfoot", {}, line(t("totals"), totals, "th"))));
}

// A name must not be taken for a formula by the program that opens the file.
function cell(value) {
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(rows, by) {
  const lines = rows.map(row => [cell(String(row[by])), ...COUNTS.map(name => row[name])].join(","));
  return [[by, ...COUNTS].join(","), ...lines, ""].join("\n");
}

// `files` are buttons for the whole report; without them, the rows are the file.
export function report(rows, totals, by, files = null) {
  const save = () => saveFile("usage.csv", csv(rows, by));
  return [
    el("p", {}, `${t("chart")} · ${t("utc")}`), chart(rows, by), table(rows, totals, by),
    el("div", { class: "buttons" }, files ?? el("button", { type: "button", onclick: save }, t("csv"))),
  ];
}

const MOST_BUDGETS = 200;
const percent = row => (row.limit_tokens ? Math.floor((100 * row.used_tokens) / row.limit_tokens) : 100);
const utc = seconds => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");

// How much of each budget is used, the fullest first. Rows of several accounts have their names.
export function budgets(rows = []) {
  if (!rows.length) return [];
  const named = rows.some(row => row.account !== undefined);
  const heads = [...(named ? ["account"] : []), "budget_name", "key_id", "used_tokens", "limit_tokens", "percent", "resets_s"];
  const cells = row => [
    ...(named ? [row.account] : []), el("code", {}, row.budget), row.key_id ?? t("all_keys"),
    number(row.used_tokens), number(row.limit_tokens), `${number(percent(row))} %`, utc(row.resets_s),
  ];
  const fullest = rows.toSorted((a, b) => percent(b) - percent(a)).slice(0, MOST_BUDGETS);
  return [
    el("h2", {}, t("budgets_used")),
    el("div", { class: "table", tabIndex: 0, role: "group", "aria-label": t("budgets_used") }, el("table", {},
      el("thead", {}, el("tr", {}, heads.map(name => el("th", { scope: "col" }, t(name))))),
      el("tbody", {}, fullest.map(row => el("tr", {}, cells(row).map(cell => el("td", {}, cell))))))),
  ];
}
