// The settings beside the conversation: key, model, mode, sampling, tools and structured output.
import { el } from "./dom.js";
import { SCHEMAS, SCRIPT, TOOLS } from "./examples.js";
import { parsed, SAMPLING } from "./request.js";
import { keywordsOf } from "./schema.js";
import { currentLanguage, t } from "./strings.js";

const RANGES = {
  temperature: [0, 2, 0.1], top_p: [0, 1, 0.05], top_k: [-1, null, 1], min_p: [0, 1, 0.05], presence_penalty: [-2, 2, 0.1],
  frequency_penalty: [-2, 2, 0.1], repetition_penalty: [0.01, 2, 0.01], seed: [null, null, 1], max_tokens: [-1, null, 1],
  budget: [0, null, 1], top_logprobs: [0, 20, 1], n: [1, 8, 1],
};

let made = 0;

export class Form {
  #state;
  #actions;
  #keywords = null;

  constructor(state, actions) {
    this.#state = state;
    this.#actions = actions;
    this.treatment = { tools: el("div", {}), schema: el("div", {}) };
    this.mend = { tools: el("p", { class: "bad", role: "status" }), schema: el("p", { class: "bad", role: "status" }) };
    this.choice = el("select", { onchange: event => this.#set("tool_choice", event.target.value) });
  }

  #set(name, value) {
    this.#state.form[name] = value;
    this.refresh();
    this.#actions.changed();
  }

  #labelled(label, field, hint = "") {
    field.id ||= `field-${++made}`;
    return el("div", { class: "field" }, el("label", { htmlFor: field.id }, label), field, hint && el("small", {}, hint));
  }

  #text(name, label, properties = {}, tag = "input") {
    const field = el(tag, { value: this.#state.form[name], spellcheck: false, autocomplete: "off", oninput: event => this.#set(name, event.target.value), ...properties });
    return this.#labelled(label, field);
  }

  #number(name, label) {
    const [min, max, step] = RANGES[name];
    return this.#text(name, label, { type: "number", min, max, step, placeholder: t("unset") });
  }

  #check(name, label) {
    const box = el("input", { type: "checkbox", checked: this.#state.form[name], onchange: event => this.#set(name, event.target.checked) });
    return el("label", { class: "check" }, box, label);
  }

  #group(title, open, ...children) {
    return el("details", { class: "group", open }, el("summary", {}, title), children);
  }

  #example(values, choose) {
    const select = el("select", {}, el("option", { value: "" }, t("choose")), Object.keys(values).map(name => el("option", { value: name }, name)));
    select.addEventListener("change", () => select.value && choose(values[select.value], select.value));
    return this.#labelled(t("example"), select);
  }

  // What is needed before anything can be sent.
  access() {
    const { state, actions } = { state: this.#state, actions: this.#actions };
    const key = el("input", { type: "password", value: state.key, autocomplete: "off", spellcheck: false });
    key.addEventListener("input", () => (state.key = key.value.trim()));
    key.addEventListener("change", () => actions.connect());
    const keep = el("input", { type: "checkbox", checked: state.remember });
    keep.addEventListener("change", () => actions.remember(keep.checked));
    this.models = el("select", { onchange: event => this.#set("model", event.target.value) });
    this.versus = el("select", { onchange: event => this.#set("versus", event.target.value) });
    this.showModels();
    return el("div", { class: "form" },
      this.#labelled(t("key"), key, t("key_hint")),
      el("label", { class: "check" }, keep, t("remember")),
      this.#labelled(t("model"), this.models),
      el("button", { type: "button", onclick: () => actions.connect() }, t("connect")));
  }

  showModels() {
    const { models, form } = this.#state;
    const names = models.length ? models.map(model => model.id) : [form.model || "Qwen/Qwen3.6-35B-A3B"];
    if (!names.includes(form.model)) form.model = names[0];
    this.models.replaceChildren(...names.map(name => el("option", { value: name, selected: name === form.model }, name)));
    const others = names.flatMap(name => ["direct", "thinking"].map(mode => [`${mode} ${name}`, `${name} · ${t(mode)}`]));
    if (!others.some(([value]) => value === form.versus)) form.versus = "";
    this.versus.replaceChildren(...[["", t("nothing")], ...others].map(([value, text]) => el("option", { value, selected: value === form.versus }, text)));
  }

  build() {
    const { form } = this.#state;
    const mode = el("fieldset", { class: "modes" }, el("legend", {}, t("mode")), ["direct", "thinking"].map(name =>
      el("label", { class: "check" }, el("input", { type: "radio", name: "mode", checked: form.mode === name, onchange: () => this.#set("mode", name) }), t(name))));
    this.budget = this.#number("budget", t("budget"));
    const format = el("select", { onchange: event => this.#set("format", event.target.value) },
      ["text", "json_object", "json_schema"].map(name => el("option", { value: name, selected: form.format === name }, name)));
    this.schema = el("div", {},
      this.#example(SCHEMAS, (text, name) => this.#fill({ schema: text, schema_name: name })),
      this.#text("schema_name", t("schema_name")),
      this.#text("schema", t("schema"), { rows: 12, class: "mono" }, "textarea"),
      this.mend.schema, this.#check("strict", t("strict")), this.treatment.schema);
    const root = el("div", { class: "form" },
      this.#labelled(t("versus"), this.versus),
      this.#text("system", t("system"), { rows: 3 }, "textarea"),
      mode, this.budget,
      this.#group(t("sampling"), false,
        SAMPLING.map(name => this.#number(name, name)), this.#number("n", t("n")), this.#number("max_tokens", t("max_tokens")),
        this.#text("stop", t("stop_label"), { rows: 2 }, "textarea"),
        this.#check("logprobs", t("logprobs")), this.#number("top_logprobs", t("top_logprobs")), this.#check("stream", t("stream"))),
      this.#group(t("tools"), Boolean(form.tools),
        this.#example(TOOLS, text => this.#fill({ tools: text })),
        this.#text("tools", t("tools_label"), { rows: 10, class: "mono" }, "textarea"),
        this.mend.tools, this.treatment.tools, this.#labelled(t("tool_choice"), this.choice), this.#check("parallel", t("parallel")),
        this.#text("script", t("script"), { rows: 6, class: "mono" }, "textarea"), el("small", {}, t("script_hint")),
        el("button", { type: "button", onclick: () => this.#fill({ script: SCRIPT }) }, t("script_example"))),
      this.#group(t("format"), form.format !== "text", this.#labelled(t("format_label"), format), this.schema));
    this.refresh();
    return root;
  }

  #fill(values) {
    Object.assign(this.#state.form, values);
    this.#actions.rebuild();
  }

  // What depends on other fields.
  refresh() {
    const { form } = this.#state;
    if (!this.schema) return;
    this.budget.hidden = form.mode !== "thinking";
    this.schema.hidden = form.format !== "json_schema";
    const problems = [];
    const tools = form.tools.trim() ? parsed(form.tools, "tools", problems) : [];
    const schema = form.format === "json_schema" ? parsed(form.schema || "{}", "schema", problems) : undefined;
    for (const [field, node] of Object.entries(this.mend)) {
      const problem = problems.find(each => each.field === field);
      node.textContent = problem ? `${t("mend")}: ${problem.message}` : "";
    }
    const names = Array.isArray(tools) ? tools.map(tool => tool?.function?.name ?? tool?.name).filter(Boolean) : [];
    const choices = ["auto", "none", "required", ...names];
    if (!choices.includes(form.tool_choice)) form.tool_choice = "auto";
    this.choice.replaceChildren(...choices.map(name => el("option", { value: name, selected: name === form.tool_choice }, name)));
    this.#showTreatment("schema", schema === undefined ? [] : [[schema, form.strict]]);
    this.#showTreatment("tools", Array.isArray(tools) ? tools.map(tool => [tool?.function?.parameters, tool?.function?.strict === true]) : []);
  }

  // What the server will do with each keyword of the schemas, which come with whether they are strict.
  async #showTreatment(place, schemas) {
    this.#keywords ??= fetch("/web/keywords.json").then(answer => answer.json());
    const table = await this.#keywords;
    const found = new Map();
    for (const [schema, strict] of schemas)
      for (const [name, paths] of keywordsOf(schema)) {
        const { treatment, why } = table[name] ?? { treatment: "unknown", why: {} };
        const shown = treatment === "relaxed" && strict ? "refused" : treatment;
        const row = found.get(`${shown} ${name}`) ?? { name, shown, why: why[currentLanguage()], paths: [] };
        row.paths.push(...paths);
        found.set(`${shown} ${name}`, row);
      }
    if (!found.size) return this.treatment[place].replaceChildren();
    const rows = [...found.values()].map(({ name, shown, why, paths }) =>
      el("tr", { class: shown }, el("th", { scope: "row" }, el("code", {}, name)), el("td", {}, t(shown), why && el("small", {}, why), el("small", { class: "paths" }, paths.slice(0, 3).join(", ")))));
    const open = place === "schema" || this.treatment.tools.firstChild?.open;
    this.treatment[place].replaceChildren(el("details", { class: "treatment", open }, el("summary", {}, t("treatment")), el("table", {}, el("tbody", {}, rows))));
  }
}
