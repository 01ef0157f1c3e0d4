// The console's lists of accounts, keys and tiers.
import { ask, attempt, button, confirmed, field, PagedList, read, select, table, utcTime } from "./admin.js";
import { editKey, editLimits, midnight, names as namesIn } from "./console_edit.js";
import { copyButton, el } from "./dom.js";
import { number, t } from "./strings.js";

const TIMES = ["created_s", "last_used_s", "expires_s"];

export async function accounts(panel) {
  const names = (await read("/admin/tiers")).map(tier => tier.name);
  const name = el("input", { autocomplete: "off" });
  const tier = select(names, names[0]);
  const editor = el("div", {});
  const list = new PagedList({ path: "/admin/accounts", label: t("accounts"), columns: ["name", "tier", "disabled_s", "created_s"], sort: "name", cells: row => {
    const tiers = select([...new Set([row.tier, ...names])], row.tier, event => change(row, { tier: event.target.value }));
    tiers.setAttribute("aria-label", `${t("tier")}: ${row.name}`);
    const off = row.disabled_s !== null;
    return [row.name, tiers, off ? t("disabled") : t("active"), utcTime(row.created_s),
      el("div", { class: "buttons" }, button(t("limits_of"), () => editLimits(editor, row, list.load)),
        off ? button(t("enable"), () => change(row, { disabled: false })) : confirmed(t("disable"), () => change(row, { disabled: true })))];
  } });
  const create = () => attempt(async () => {
    await ask("/admin/accounts", "POST", { name: name.value, tier: tier.value });
    await list.load();
  });
  const change = (row, changes) => attempt(async () => {
    await ask(`/admin/accounts/${encodeURIComponent(row.id)}`, "PATCH", changes);
    await list.load();
  });
  panel.replaceChildren(
    el("div", { class: "row" }, field(t("account"), name), field(t("tier"), tier), button(t("create"), create, { class: "primary" })),
    editor, ...list.build(), el("p", {}, t("utc")));
  await list.load();
}

export async function keys(panel) {
  const secret = el("div", { role: "status" });
  const editor = el("div", {});
  const [account, name, expires, models] = ["text", "text", "date", "text"].map(type => el("input", { type, autocomplete: "off" }));
  const columns = ["account", "name", "state", "last4", ...TIMES];
  const list = new PagedList({ path: "/admin/keys", label: t("keys"), columns, sort: "-created_s", cells: row => [
    ...columns.map(column => (TIMES.includes(column) ? utcTime(row[column]) : column === "state" ? t(row.state) : row[column])),
    row.state === "revoked" ? "" : el("div", { class: "buttons" }, button(t("edit"), () => editKey(editor, row, list.load)), confirmed(t("revoke"), () => revoke(row))),
  ] });
  const create = () => attempt(async () => {
    const body = { account: account.value, name: name.value };
    if (expires.value) body.expires_s = midnight(expires.value);
    if (namesIn(models.value).length) body.models = namesIn(models.value);
    const key = await read("/admin/keys", "POST", body);
    secret.replaceChildren(el("p", {}, t("once"), " ", el("code", {}, key.secret), " ", copyButton(t("copy"), t("copied"), () => key.secret)));
    await list.load();
  });
  const revoke = row => attempt(async () => {
    await ask(`/admin/keys/${encodeURIComponent(row.id)}/revoke`, "POST");
    await list.load();
  });
  panel.replaceChildren(
    el("div", { class: "row" }, field(t("account"), account), field(t("name"), name), field(t("expires"), expires), field(t("models"), models), button(t("create"), create, { class: "primary" })),
    secret, editor, ...list.build(), el("p", {}, t("utc")));
  await list.load();
}

const SHOWN = {
  budgets: value => value.map(each => `${each.name}: ${number(each.limit_tokens)}`).join(", ") || t("unlimited"),
  default_output_tokens: value => (value === null ? t("of_model") : number(value)),
};
const limit = value => (value === null ? t("unlimited") : number(value));

export async function tiers(panel) {
  const rows = await read("/admin/tiers");
  const names = Object.keys(rows[0] ?? {}).filter(name => name !== "name");
  panel.replaceChildren(
    table(t("tiers"), [t("tier"), ...names.map(name => t(name))], rows.map(row => [row.name, ...names.map(name => (SHOWN[name] ?? limit)(row[name]))])),
    el("p", {}, t("tiers_set")));
}
