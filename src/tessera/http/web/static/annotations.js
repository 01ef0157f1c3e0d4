// What is said about a reply: its numbers, and whether it keeps to its schema.
import { el } from "./dom.js";
import { validate } from "./schema.js";
import { number, t } from "./strings.js";

export function statistics(stats, contextLength) {
  const { usage, firstMs, totalMs } = stats;
  const parts = [];
  if (firstMs) parts.push(`${t("first")} ${number(firstMs)} ms`);
  if (totalMs) parts.push(`${t("total")} ${number(totalMs / 1000, 2)} s`);
  if (!usage) return el("span", {}, parts.join(" · "));
  const { prompt_tokens: prompt, completion_tokens: made } = usage;
  const seconds = (totalMs - (firstMs ?? 0)) / 1000;
  if (seconds > 0 && made > 1) parts.push(`${number((made - 1) / seconds, 1)} tokens/s`);
  parts.push(`${t("prompt")} ${number(prompt)} (${t("cached")} ${number(usage.prompt_tokens_details?.cached_tokens ?? 0)})`);
  parts.push(`${t(stats.choices > 1 ? "all_replies" : "reply_tokens")} ${number(made)}`);
  const reasoning = usage.completion_tokens_details?.reasoning_tokens ?? 0;
  if (reasoning) parts.push(`${t("thought")} ${number(reasoning)}`);
  if (contextLength) parts.push(`${number((100 * (prompt + made)) / contextLength, 1)} % ${t("context")}`);
  return el("span", {}, parts.join(" · "));
}

// Whether a finished text keeps to its schema, in words.
export function verdict(text, schema) {
  if (!text) return null;
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return el("p", { class: "bad" }, `✗ ${t("not_json")}`);
  }
  const problems = schema ? validate(schema, value) : [];
  if (!problems.length) return el("p", { class: "good" }, `✓ ${t("valid")}`);
  return el("div", { class: "bad" }, el("p", {}, `✗ ${t("invalid")}`), el("ul", {}, problems.slice(0, 10).map(each => el("li", {}, el("code", {}, each.path), `: ${each.keyword}`))));
}
