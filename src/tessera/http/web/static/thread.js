// The conversation: a card for each message of the branch that is shown, and the replies that are being written.
import { statistics, verdict } from "./annotations.js";
import { copyButton, el } from "./dom.js";
import { drawMarkdown, MarkdownStream } from "./markdown.js";
import { t } from "./strings.js";
import { tokenView } from "./tokens.js";

const SCROLL_MS = 150;
const pretty = text => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};
const button = (text, onclick, properties = {}) => el("button", { type: "button", onclick, ...properties }, text);

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
    const { conversation } = this.#state;
    const path = conversation.path();
    this.list.replaceChildren(...path.map(node => {
      if (node.message.role !== "assistant") return el("li", {}, this.#card(node));
      const turn = conversation.turn(node);
      const cards = turn.map(({ message }) => this.#live(turn.length > 1 && message.title));
      turn.forEach((each, n) => this.#fill(cards[n], each));
      return this.#row(cards);
    }));
  }

  // Cards for replies that are still to come: those of one turn stand side by side.
  begin(titles) {
    const cards = titles.map(title => this.#live(title));
    this.list.append(this.#row(cards));
    this.follow = true;
    return cards;
  }

  #row(cards) {
    return el("li", { class: cards.length > 1 ? "lanes" : "" }, cards.map(card => card.root));
  }

  #title(role, title) {
    return el("h3", {}, t(role), title && [" · ", title]);
  }

  #card(node) {
    const { role, content } = node.message;
    const text = el("div", { class: "text" }, content);
    const foot = el("div", { class: "foot buttons" }, this.#buttons(node, text));
    return el("div", { class: `card ${role}` }, this.#title(role), text, foot);
  }

  #buttons(node, text) {
    const { message } = node;
    const edit = () => {
      const area = el("textarea", { value: message.content ?? "", rows: 4, "aria-label": t("edit") });
      const save = () => this.#actions.edit(node, area.value);
      text.replaceChildren(area, button(t("save"), save, { class: "primary" }), " ", button(t("cancel"), () => this.#actions.edited()));
      area.focus();
    };
    return [
      message.role === "assistant" ? button(t("retry"), () => this.#actions.retry(node)) : button(t("edit"), edit),
      button(t("remove"), () => this.#actions.remove(node)),
      message.content && copyButton(t("copy"), t("copied"), () => message.content),
      this.#siblings(node),
    ];
  }

  // Which of several branches this is, and the way to the others.
  #siblings(node) {
    const { conversation } = this.#state;
    const { children } = node.parent;
    if (children.length < 2) return null;
    const turn = conversation.turn(node);
    const chosen = children[node.parent.chosen] === node;
    if (turn.length > 1 && !chosen) return button(t("continue"), () => this.#actions.choose(node));
    const go = (step, label, text) => {
      const next = conversation.beside(node, step);
      return button(text, () => this.#actions.choose(next), { "aria-label": t(label), disabled: !next });
    };
    return el("span", { class: "branches", role: "group", "aria-label": t("branches") },
      go(-1, "branch_before", "‹"), el("span", {}, `${children.indexOf(node) + 1} / ${children.length}`), go(1, "branch_after", "›"));
  }

  #fill(card, node) {
    card.reasoning.textContent = node.message.reasoning ?? "";
    card.thinking.hidden = !node.message.reasoning;
    drawMarkdown(card.text, node.message.content ?? "");
    this.finish(card, node);
  }

  #live(title) {
    const reasoning = el("div", { class: "text reasoning" });
    const thinking = el("details", { hidden: true }, el("summary", {}, t("reasoning")), reasoning);
    const text = el("div", { class: "text markdown" });
    const calls = el("div", {});
    const foot = el("div", { class: "foot" });
    const root = el("div", { class: "card assistant" }, this.#title("assistant", title), thinking, text, calls, foot);
    const stream = new MarkdownStream(text, () => this.scroll());
    return { root, reasoning, thinking, text, calls, foot, stream };
  }

  // What a card has once the reply has ended.
  finish(card, node) {
    const { message } = node;
    const open = node === this.#state.conversation.last();
    const calls = (message.calls ?? []).map(call => this.#call(call, message, open));
    card.calls.replaceChildren(...calls);
    if (calls.length && open) card.calls.append(this.#answers(message));
    card.root.classList.toggle("chosen", this.#state.conversation.turn(node).length > 1 && node.parent.children[node.parent.chosen] === node);
    const checked = message.format === "text" || !message.format || !message.content ? null : verdict(message.content, message.schema);
    card.foot.replaceChildren(...[
      checked, message.logprobs?.length && tokenView(message.logprobs),
      message.stats && el("p", { class: "stats" }, el("code", {}, message.finish ?? t("cut")), " ", statistics(message.stats, message.contextLength)),
      el("div", { class: "buttons" }, this.#buttons(node, null)),
    ].filter(Boolean));
  }

  #answers(message) {
    const problem = el("p", { class: "bad", role: "status" });
    const run = async () => (problem.textContent = await this.#actions.answer(message));
    return el("div", {}, problem, el("div", { class: "buttons" },
      this.#state.form.script.trim() && button(t("run_script"), run),
      button(t("send_results"), () => this.#actions.results(message), { class: "primary" })));
  }

  #call(call, message, open) {
    const schema = message.toolSchemas?.[call.name];
    const area = el("textarea", { rows: 2, value: call.result ?? "", class: "mono", oninput: event => (call.result = event.target.value) });
    area.id = `result-${call.id}`;
    call.show = () => (area.value = call.result);
    return el("section", { class: "call", "aria-label": `${t("call")} ${call.name}` },
      el("h4", {}, `${t("call")} `, el("code", {}, call.name)),
      el("pre", { tabIndex: 0, "aria-label": t("arguments") }, el("code", {}, pretty(call.arguments))),
      verdict(call.arguments, schema),
      open && el("label", { htmlFor: area.id }, t("result")), open && area);
  }
}
