// The playground: one state, three views of it (form, conversation, wire), and what the buttons do.
import { advice } from "./advice.js";
import { Conversation } from "./conversation.js";
import { byId, el, saveFile, themeButton } from "./dom.js";
import { STARTS } from "./examples.js";
import { Form } from "./form.js";
import { keepLanguage } from "./language.js";
import { buildRequest, DEFAULTS, readRequest, variants } from "./request.js";
import { failure } from "./stream.js";
import { currentLanguage, t } from "./strings.js";
import { Thread } from "./thread.js";
import { runScript } from "./tools.js";
import { Turn } from "./turn.js";
import { Wire } from "./wire.js";

const main = byId("main");
const kept = sessionStorage.getItem("key");
const state = {
  key: kept ?? "", remember: kept !== null, models: [], form: { ...DEFAULTS }, conversation: new Conversation(), draft: "",
  exchanges: [], exchange: 0, tab: "request", language: "curl", running: null,
  preview: () => buildRequest(state.form, draftMessages()).body,
};
const wire = new Wire(state);
let form, thread, notice, status, input, sendButton, stopButton;

function draftMessages() {
  const messages = state.conversation.messages();
  return state.draft.trim() ? [...messages, { role: "user", content: state.draft }] : messages;
}

// A screen reader announces the state, and not each token.
function say(text) {
  if (status.textContent !== text) status.textContent = text;
}

// The error and what to do about it; `again` offers to send the conversation once more.
function showError(error, again = false) {
  const code = [error.status >= 400 && error.status, error.code, error.param].filter(Boolean).join(" · ");
  // What the browser says of a lost connection adds nothing.
  const message = error instanceof TypeError ? null : el("p", {}, code && el("code", {}, code), " ", error.message);
  notice.replaceChildren(...[el("p", {}, el("strong", {}, advice(error))), message].filter(Boolean));
  if (again) notice.append(el("p", {}, el("button", { type: "button", onclick: () => run() }, t("retry"))));
  notice.hidden = false;
  say("");
}

function clearError() {
  notice.replaceChildren();
  notice.hidden = true;
}

async function connect() {
  keepKey();
  if (!state.key) return;
  try {
    const answer = await fetch("/v1/models", { headers: { Authorization: `Bearer ${state.key}` } });
    if (!answer.ok) throw await failure(answer);
    state.models = (await answer.json()).data;
    clearError();
    form.showModels();
    wire.show();
    say(t("connected", { n: state.models.length }));
  } catch (error) {
    showError(error);
  }
}

function keepKey() {
  if (state.remember && state.key) sessionStorage.setItem("key", state.key);
  else sessionStorage.removeItem("key");
}

function warn(text) {
  notice.replaceChildren(el("p", {}, text));
  notice.hidden = false;
}

// Sends the conversation as it is shown. Returns whether there is a reply, or a part of one; without one, `again` has the
// error offer to send it once more.
async function run(again = true) {
  if (!state.key) return warn(t("no_key"));
  const requests = variants(state.form).map(values => ({
    title: `${values.model} · ${t(values.mode)}`, ...buildRequest(values, state.conversation.messages()),
  }));
  const [problem] = requests[0].problems;
  if (problem) return warn(`${t("mend")}: ${problem.field}: ${problem.message}`);
  clearError();
  const turn = new Turn(requests, thread);
  Object.assign(state, { exchanges: turn.exchanges, exchange: 0, running: new AbortController() });
  busy(true);
  say(t("waiting"));
  wire.show();
  const failed = await turn.run(state.key, state.running.signal, lane => {
    wire.progress();
    if (lane.firstMs !== null) say(t("writing"));
  });
  const came = turn.settle(state.conversation, thread, state.models);
  thread.scroll(true);
  const stopped = failed?.name === "AbortError";
  busy(false);
  if (failed && !stopped) showError(failed, again && !came);
  else say(stopped ? t("stopped") : t("done"));
  wire.show();
  return came;
}

function busy(on) {
  sendButton.disabled = on;
  stopButton.hidden = !on;
  if (!on) state.running = null;
  byId("starts").hidden = state.conversation.path().length > 0 || on;
}

function send() {
  const text = input.value;
  if (state.running || (!text.trim() && !["user", "tool"].includes(state.conversation.last().message?.role))) return;
  if (text.trim() && state.key) {
    state.conversation.add({ role: "user", content: text });
    input.value = state.draft = "";
    thread.show();
  }
  run();
  input.focus();
}

function stop() {
  state.running?.abort();
}

const actions = {
  connect,
  changed: () => !state.running && (state.exchanges = [], wire.show()),
  remember: on => {
    state.remember = on;
    keepKey();
  },
  rebuild: build,
  edited: () => {
    thread.show();
    actions.changed();
    busy(Boolean(state.running));
  },
  // While a reply is written, the conversation stays as it is.
  edit: (node, content) => {
    if (state.running) return;
    state.conversation.edit(node, content);
    thread.show();
    run();
  },
  remove: node => {
    if (state.running) return;
    state.conversation.remove(node);
    actions.edited();
  },
  choose: node => {
    if (state.running) return;
    state.conversation.choose(node);
    actions.edited();
  },
  retry: async node => {
    if (state.running) return;
    const undo = state.conversation.cut(node);
    thread.show();
    if (await run(false)) return;
    undo();
    thread.show();
  },
  // Fills in the results by the user's script; returns what went wrong, if anything.
  answer: async message => {
    try {
      for (const call of message.calls) {
        call.result = await runScript(state.form.script, call.name, JSON.parse(call.arguments || "{}"));
        call.show();
      }
      return "";
    } catch (error) {
      return error.message;
    }
  },
  results: message => {
    if (state.running) return;
    for (const call of message.calls)
      state.conversation.add({ role: "tool", tool_call_id: call.id, content: call.result ?? "" });
    if (!["auto", "none"].includes(state.form.tool_choice)) {
      state.form.tool_choice = "auto"; // else the model could only call again
      form.refresh();
    }
    thread.show();
    run();
  },
};

function exportAll() {
  saveFile("conversation.json", JSON.stringify({ tessera: 1, form: state.form, ...state.conversation.saved() }, null, 2));
}

async function importFile(file) {
  try {
    const read = JSON.parse(await file.text());
    if (read.tessera !== 1 || !Array.isArray(read.messages)) throw new Error();
    for (const [name, value] of Object.entries(read.form ?? {}))
      if (name in DEFAULTS && typeof value === typeof DEFAULTS[name]) state.form[name] = value;
    state.conversation = Conversation.read(read.messages, read.shown);
    state.exchanges = [];
    build();
  } catch {
    warn(t("import_bad"));
  }
}

function start(name) {
  const { form: values, text } = STARTS[name];
  state.form = { ...DEFAULTS, model: state.form.model, system: state.form.system, ...values };
  state.draft = text[currentLanguage()];
  build();
  input.focus();
}

function clear() {
  if (state.running) return;
  state.conversation = new Conversation();
  state.exchanges = [];
  build();
}

function composer() {
  input = el("textarea", { id: "message", rows: 2, value: state.draft, oninput: () => {
    state.draft = input.value;
    actions.changed();
  } });
  input.addEventListener("keydown", event => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape") stop();
  });
  sendButton = el("button", { type: "button", class: "primary", onclick: send }, t("send"));
  stopButton = el("button", { type: "button", hidden: true, onclick: stop }, t("stop"));
  const file = el("input", { type: "file", accept: ".json", class: "offscreen", tabIndex: -1, "aria-hidden": "true", onchange: () => file.files[0] && importFile(file.files[0]) });
  return el("div", { class: "composer" },
    el("label", { htmlFor: "message" }, t("your_message")), input,
    el("div", { class: "buttons" }, sendButton, stopButton,
      el("button", { type: "button", onclick: clear }, t("clear")),
      el("button", { type: "button", onclick: exportAll }, t("export")),
      el("button", { type: "button", onclick: () => file.click() }, t("import")), file));
}

function build() {
  form = new Form(state, actions);
  thread = new Thread(state, actions);
  notice = el("div", { role: "alert", class: "notice", hidden: true });
  status = el("p", { role: "status", class: "stats" });
  const starts = el("div", { id: "starts", hidden: state.conversation.path().length > 0 }, el("p", {}, t("empty")),
    el("div", { class: "buttons" }, Object.keys(STARTS).map(name => el("button", { type: "button", onclick: () => start(name) }, t(name)))));
  const wide = matchMedia("(min-width: 62rem)").matches;
  main.replaceChildren(el("h1", { class: "offscreen" }, "Tessera Playground"), el("div", { class: "playground" },
    el("div", { class: "panel" }, form.access(), el("details", { open: wide }, el("summary", {}, el("h2", {}, t("settings"))), form.build())),
    el("section", { class: "talk", "aria-label": t("conversation") }, starts, thread.list, notice, status, thread.end, composer()),
    el("details", { class: "panel", open: wide }, el("summary", {}, el("h2", {}, t("wire"))), wire.build())));
  thread.show();
}

// A link of the documentation may bring a request with it.
function takeRequest() {
  const sent = /^#request=(.+)$/.exec(location.hash);
  if (!sent) return;
  history.replaceState(null, "", location.pathname + location.search);
  try {
    const { form, messages } = readRequest(JSON.parse(decodeURIComponent(sent[1])));
    state.form = { ...form, model: form.model || state.form.model };
    const last = messages.at(-1)?.role === "user" ? messages.pop() : null;
    Object.assign(state, { conversation: Conversation.read(messages), draft: last?.content ?? "" });
  } catch {
    // A link that was cut short: the playground opens empty.
  }
}

takeRequest();
keepLanguage(() => !state.running, build);
themeButton();
build();
if (state.key) connect();
