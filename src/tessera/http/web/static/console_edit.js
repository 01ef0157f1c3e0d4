// The forms that change a key, and the limits of an account. Only what was changed is sent.
import { ask, attempt, button, field } from "./admin.js";
import { el } from "./dom.js";
import { t } from "./strings.js";

const BUDGETS = ["day", "month"].flatMap(period => ["total", "prompt", "completion", "reasoning"].map(counted => `${counted}_tokens_per_${period}`));
const LIMITS = ["sustained_rpm", "burst_rpm", "context_tokens", "thinking_tokens_per_day", "concurrency", "priority", "default_output_tokens"];

export const names = text => text.split(",").map(each => each.trim()).filter(Boolean);
export const midnight = day => Date.parse(`${day}T00:00:00Z`) / 1000;

// How each kind of value is shown in a field, and read from it. An empty field is null.
const KINDS = {
  text: { show: value => value, read: text => text },
  number: { show: String, read: text => (/^\d+$/.test(text) ? Number(text) : text) },
  date: { show: seconds => new Date(seconds * 1000).toISOString().slice(0, 10), read: midnight },
  list: { show: values => values.join(", "), read: names },
};
const shown = ({ kind, value }) => (value === null || value === undefined ? "" : KINDS[kind].show(value));

function edit(place, { title, hint, fields, save }) {
  const inputs = fields.map(each => el("input", { type: each.kind === "date" ? "date" : "text", value: shown(each), autocomplete: "off" }));
  const close = () => place.replaceChildren();
  const submit = () => attempt(async () => {
    const changes = {};
    fields.forEach((each, n) => {
      const text = inputs[n].value.trim();
      if (text === shown(each)) return;
      const holder = each.within ? (changes[each.within] ??= {}) : changes;
      holder[each.name] = text === "" ? null : KINDS[each.kind].read(text);
    });
    if (Object.keys(changes).length) await save(changes);
    close();
  });
  place.replaceChildren(el("fieldset", { class: "editor" }, el("legend", {}, title), el("p", {}, hint),
    el("div", { class: "row" }, fields.map((each, n) => field(each.label ?? t(each.name), inputs[n]))),
    el("div", { class: "buttons" }, button(t("apply"), submit, { class: "primary" }), button(t("cancel"), close))));
  inputs[0].focus();
}

const budgets = (row, within) => BUDGETS.map(name => ({ name, label: name, kind: "number", value: row[within]?.[name], within }));

export function editKey(place, row, done) {
  edit(place, {
    title: t("edit_key", { name: row.name }), hint: t("edit_key_hint"),
    fields: [
      { name: "name", kind: "text", value: row.name },
      { name: "expires_s", label: t("expires"), kind: "date", value: row.expires_s },
      { name: "models", kind: "list", value: row.models },
      { name: "burst_rpm", kind: "number", value: row.burst_rpm }, { name: "burst_until_s", kind: "date", value: row.burst_until_s },
      ...budgets(row, "budgets"),
    ],
    save: async changes => {
      await ask(`/admin/keys/${encodeURIComponent(row.id)}`, "PATCH", changes);
      await done();
    },
  });
}

export function editLimits(place, row, done) {
  edit(place, {
    title: t("edit_limits", { name: row.name }), hint: t("edit_limits_hint"),
    fields: [...LIMITS.map(name => ({ name, kind: "number", value: row.limits?.[name], within: "limits" })), ...budgets(row, "limits")],
    save: async changes => {
      await ask(`/admin/accounts/${encodeURIComponent(row.id)}`, "PATCH", changes);
      await done();
    },
  });
}
