// The conversation: a card for each message, and the reply that is being written.
import { copyButton, el } from "./dom.js";
import { drawMarkdown, MarkdownStream } from "./markdown.js";
import { validate } from "./schema.js";
import { number, t } from "./strings.js";

const MAX_TOKENS_SHOWN = 300;
const SCROLL_MS = 150;
const pretty = text => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};

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
  parts.push(`${t("reply_tokens")} ${number(made)}`);
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

function logprobTable(logprobs) {
  const percent = logprob => `${number(100 * Math.exp(logprob), 1)} %`;
  const rows = logprobs.slice(0, MAX_TOKENS_SHOWN).map(each =>
    el("tr", {}, el("td", {}, el("code", {}, JSON.stringify(each.token))), el("td", {}, percent(each.logprob)),
      el("td", {}, (each.top_logprobs ?? []).map(other => [el("code", {}, JSON.stringify(other.token)), ` ${percent(other.logprob)} `]))));
  return el("details", {}, el("summary", {}, t("logprobs")), el("div", { class: "table", tabIndex: 0 }, el("table", {},
    el("thead", {}, el("tr", {}, ["token", "probability", "alternatives"].map(name => el("th", { scope: "col" }, t(name))))), el("tbody", {}, rows))));
}

export class Thread {
  #state;
  #actions;
  #scrolled = 0;

  constructor(state, actions) {
    this.#state = state;
    this.#actions = actions;
    this.list = el("ol", { class: "thread" });
    this.end = el("div", { class: "end" });
    this.follow = true;
    new IntersectionObserver(([entry]) => (this.follow = entry.isIntersecting), { rootMargin: "0px 0px 150px 0px" }).observe(this.end);
  }

  // To scroll makes the browser lay out the whole page at once, so it is not done at every draw.
  scroll(last = false) {
    const now = performance.now();
    if (!this.follow || (!last && now - this.#scrolled < SCROLL_MS)) return;
    this.#scrolled = now;
    this.end.scrollIntoView({ block: "end" });
  }

  show() {
    this.list.replaceChildren(...this.#state.messages.map((message, n) => this.#card(message, n)));
  }

  #title(role) {
    return el("h3", {}, t(role));
  }

  #card(message, n) {
    if (message.role === "assistant") return this.#assistant(message, n);
    const text = el("div", { class: "text" }, message.content);
    const foot = el("div", { class: "foot buttons" }, this.#buttons(message, n, text));
    return el("li", { class: `card ${message.role}` }, this.#title(message.role), text, foot);
  }

  #buttons(message, n, text) {
    const remove = () => {
      this.#state.messages.splice(n, 1);
      this.#actions.edited();
    };
    const edit = () => {
      const area = el("textarea", { value: message.content ?? "", rows: 4, "aria-label": t("edit") });
      const save = () => {
        message.content = area.value;
        this.#actions.edited();
      };
      const cancel = el("button", { type: "button", onclick: () => this.#actions.edited() }, t("cancel"));
      text.replaceChildren(area, el("button", { type: "button", class: "primary", onclick: save }, t("save")), " ", cancel);
      area.focus();
    };
    const retry = () => this.#actions.retry(n);
    return [
      message.role === "assistant" && el("button", { type: "button", onclick: retry }, t("retry")),
      text && el("button", { type: "button", onclick: edit }, t("edit")),
      el("button", { type: "button", onclick: remove }, t("remove")),
      message.content && copyButton(t("copy"), t("copied"), () => message.content),
    ];
  }

  #assistant(message, n) {
    const card = this.live();
    card.reasoning.textContent = message.reasoning ?? "";
    card.thinking.hidden = !message.reasoning;
    drawMarkdown(card.text, message.content ?? "");
    this.finish(card, message, n);
    return card.root;
  }

  // A card for a reply that is still to come.
  live() {
    const reasoning = el("div", { class: "text reasoning" });
    const thinking = el("details", { hidden: true }, el("summary", {}, t("reasoning")), reasoning);
    const text = el("div", { class: "text markdown" });
    const calls = el("div", {});
    const foot = el("div", { class: "foot" });
    const root = el("li", { class: "card assistant" }, this.#title("assistant"), thinking, text, calls, foot);
    const stream = new MarkdownStream(text, () => this.scroll());
    return { root, reasoning, thinking, text, calls, foot, stream };
  }

  // What a card has once the reply has ended.
  finish(card, message, n) {
    const last = n === this.#state.messages.length - 1;
    const calls = (message.calls ?? []).map(call => this.#call(call, message, last));
    card.calls.replaceChildren(...calls);
    if (calls.length && last) {
      const send = el("button", { type: "button", class: "primary", onclick: () => this.#actions.results(message) }, t("send_results"));
      card.calls.append(send);
    }
    const checked = message.format === "text" || !message.format || !message.content ? null : verdict(message.content, message.schema);
    card.foot.replaceChildren(...[
      checked, message.logprobs?.length && logprobTable(message.logprobs),
      message.stats && el("p", { class: "stats" }, el("code", {}, message.finish ?? t("cut")), " ", statistics(message.stats, message.contextLength)),
      el("div", { class: "buttons" }, this.#buttons(message, n, null).filter(Boolean)),
    ].filter(Boolean));
  }

  #call(call, message, open) {
    const schema = message.toolSchemas?.[call.name];
    const area = el("textarea", { rows: 2, value: call.result ?? "", class: "mono", oninput: event => (call.result = event.target.value) });
    area.id = `result-${call.id}`;
    return el("section", { class: "call", "aria-label": `${t("call")} ${call.name}` },
      el("h4", {}, `${t("call")} `, el("code", {}, call.name)),
      el("pre", { tabIndex: 0, "aria-label": t("arguments") }, el("code", {}, pretty(call.arguments))),
      verdict(call.arguments, schema),
      open && el("label", { htmlFor: area.id }, t("result")), open && area);
  }
}
