// The console's reports: usage by day, account, key and model, budgets, and the audit.
import { ask, attempt, button, field, read, select, table, utcDay, utcTime } from "./admin.js";
import { el, saveFile } from "./dom.js";
import { budgets, csv, groupName, report } from "./report.js";
import { t } from "./strings.js";

const MOST = 200;
const asked = { since: utcDay(29), until: utcDay(0), by: "day", account: "" };

export async function usage(panel) {
  const place = el("div", { class: "usage" });
  const query = more => new URLSearchParams(Object.entries({ ...asked, ...more }).filter(([, value]) => value));
  // The file has all rows; the page has those with the most tokens.
  const files = [
    button(t("csv"), () => attempt(async () => saveFile("usage.csv", csv((await read(`/admin/usage?${query()}`)).rows, asked.by)))),
    button(t("parquet"), () => attempt(async () => saveFile("usage.parquet", await (await ask(`/admin/usage?${query({ format: "parquet" })}`)).blob()))),
  ];
  const show = () => attempt(async () => {
    const { rows, totals } = await read(`/admin/usage?${query(asked.by !== "day" && { top: MOST })}`);
    const most = rows.length === MOST && asked.by !== "day" ? [el("p", {}, t("only_top", { n: MOST }))] : [];
    const ofBudgets = await read(`/admin/budgets?${new URLSearchParams(asked.account && { account: asked.account })}`).catch(error => {
      if (error.status !== 404) throw error;
      return []; // a deleted account has usage, but no budgets
    });
    const shown = rows.length ? report(rows, totals, asked.by, files) : [el("p", {}, t("no_usage"))];
    place.replaceChildren(...most, ...shown, ...budgets(ofBudgets));
  });
  const input = (name, type) => el("input", { type, value: asked[name], oninput: event => (asked[name] = event.target.value.trim()) });
  const by = select(["day", "account", "key", "model"], asked.by, event => (asked.by = event.target.value), groupName);
  panel.replaceChildren(
    el("div", { class: "row" }, field(t("since"), input("since", "date")), field(t("until"), input("until", "date")), field(t("by"), by), field(t("account"), input("account", "text")), button(t("show"), show, { class: "primary" })), place);
  await show();
}

export async function audit(panel) {
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
