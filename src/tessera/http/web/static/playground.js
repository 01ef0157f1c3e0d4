// The playground: one state, three views of it (form, conversation, wire), and what the buttons do.
import { byId, el, themeButton } from "./dom.js";
import { STARTS } from "./examples.js";
import { Form } from "./form.js";
import { keepLanguage } from "./language.js";
import { buildRequest, DEFAULTS, readRequest } from "./request.js";
import { ApiError, chat, failure, Reply } from "./stream.js";
import { currentLanguage, t } from "./strings.js";
import { Thread } from "./thread.js";
import { saveFile, Wire } from "./wire.js";

const main = byId("main");
const kept = sessionStorage.getItem("key");
const state = {
  key: kept ?? "", remember: kept !== null, models: [], form: { ...DEFAULTS }, messages: [], draft: "",
  exchange: null, tab: "request", language: "curl", running: null,
  preview: () => buildRequest(state.form, draftMessages()).body,
};
const wire = new Wire(state);
let form, thread, notice, status, input, sendButton, stopButton;

function draftMessages() {
  return state.draft.trim() ? [...state.messages, { role: "user", content: state.draft }] : state.messages;
}

function say(text) {
  status.textContent = text;
}

// The error and what to do about it.
function showError(error) {
  const status = error instanceof ApiError ? error.status : 0;
  const known = { 400: "e400", 401: "e401", 403: "e403", 404: "e404", 413: "e413", 422: "e422", 429: "e429" };
  const advice = error instanceof ApiError ? t(known[status] ?? (error.code === "invalid_api_key" ? "e401" : "e5xx")) : t("elost");
  const wait = status === 429 && error.retryAfter ? ` ${t("e429_wait", { s: error.retryAfter })}` : "";
  const code = [status >= 400 && status, error.code, error.param].filter(Boolean).join(" · ");
  notice.replaceChildren(el("p", {}, el("strong", {}, advice + wait)), el("p", {}, code && el("code", {}, code), " ", error.message));
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
  } catch (error) {
    showError(error);
  }
}

function keepKey() {
  if (state.remember && state.key) sessionStorage.setItem("key", state.key);
  else sessionStorage.removeItem("key");
}

function toolSchemas(body) {
  return Object.fromEntries((body.tools ?? []).map(tool => [tool?.function?.name, tool?.function?.parameters]));
}

async function run() {
  if (!state.key) {
    notice.replaceChildren(el("p", {}, t("no_key")));
    notice.hidden = false;
    return;
  }
  const { body, problems } = buildRequest(state.form, state.messages);
  if (problems.length) {
    notice.replaceChildren(el("p", {}, `${t("mend")}: ${problems[0].field}: ${problems[0].message}`));
    notice.hidden = false;
    return;
  }
  clearError();
  const exchange = { request: body, events: [], status: 0, headers: [], headMs: 0 };
  state.exchange = exchange;
  state.running = new AbortController();
  const reply = new Reply();
  const card = thread.live();
  thread.list.append(card.root);
  thread.follow = true;
  busy(true);
  say(t("waiting"));
  wire.show();
  const started = performance.now();
  let firstMs = null;
  const waiting = setInterval(() => {
    if (firstMs === null) card.foot.textContent = `${t("waiting")} ${((performance.now() - started) / 1000).toFixed(1)} s`;
  }, 200);
  let reasoned = 0;
  let shown = 0;
  let failed = null;
  try {
    await chat(body, state.key, state.running.signal,
      (status, headers, headMs) => Object.assign(exchange, { status, headers, headMs }),
      (data, at, chunk) => {
        exchange.events.push([at, data]);
        wire.progress();
        if (!chunk) return;
        reply.add(chunk);
        if (firstMs === null && (reply.content || reply.reasoning || reply.calls.length)) {
          firstMs = at;
          card.foot.textContent = "";
          say(t("writing"));
        }
        if (reply.reasoning.length > reasoned) {
          card.thinking.hidden = false;
          card.thinking.open = true;
          card.reasoning.append(reply.reasoning.slice(reasoned));
          reasoned = reply.reasoning.length;
        }
        if (reply.content.length > shown) {
          card.stream.push(reply.content.slice(shown));
          shown = reply.content.length;
        }
        if (reply.calls.length) card.calls.textContent = reply.calls.map(call => `${call.name}(${call.arguments})`).join("\n");
      });
  } catch (error) {
    failed = error;
  }
  clearInterval(waiting);
  card.stream.end();
  settle(card, body, reply, { usage: reply.usage, firstMs, totalMs: performance.now() - started });
  thread.scroll(true);
  const stopped = failed?.name === "AbortError";
  busy(false);
  if (failed && !stopped) showError(failed);
  else say(stopped ? t("stopped") : t("done"));
  wire.show();
}

// The reply becomes a message, also if only a part of it came.
function settle(card, body, reply, stats) {
  if (!reply.content && !reply.reasoning && !reply.calls.length && !reply.usage) {
    card.root.remove();
    return;
  }
  const format = body.response_format;
  const message = {
    role: "assistant", content: reply.content, reasoning: reply.reasoning, calls: reply.calls, finish: reply.finish,
    logprobs: reply.logprobs, stats, format: format?.type ?? "text", schema: format?.json_schema?.schema ?? null,
    toolSchemas: toolSchemas(body), contextLength: state.models.find(model => model.id === body.model)?.context_length ?? 0,
  };
  state.messages.push(message);
  thread.finish(card, message, state.messages.length - 1);
}

function busy(on) {
  sendButton.disabled = on;
  stopButton.hidden = !on;
  if (!on) state.running = null;
  byId("starts").hidden = state.messages.length > 0 || on;
}

function send() {
  const text = input.value;
  if (state.running || (!text.trim() && state.messages.at(-1)?.role !== "user")) return;
  if (text.trim() && state.key) {
    state.messages.push({ role: "user", content: text });
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
  changed: () => !state.running && (state.exchange = null, wire.show()),
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
  retry: n => {
    if (state.running) return;
    state.messages.length = n;
    thread.show();
    run();
  },
  results: message => {
    if (state.running) return;
    for (const call of message.calls)
      state.messages.push({ role: "tool", tool_call_id: call.id, content: call.result ?? "" });
    if (!["auto", "none"].includes(state.form.tool_choice)) {
      state.form.tool_choice = "auto"; // else the model could only call again
      form.refresh();
    }
    thread.show();
    run();
  },
};

function exportAll() {
  const messages = state.messages.map(({ logprobs, ...message }) => message);
  saveFile("conversation.json", JSON.stringify({ tessera: 1, form: state.form, messages }, null, 2));
}

async function importFile(file) {
  try {
    const read = JSON.parse(await file.text());
    if (read.tessera !== 1 || !Array.isArray(read.messages)) throw new Error();
    for (const [name, value] of Object.entries(read.form ?? {}))
      if (name in DEFAULTS && typeof value === typeof DEFAULTS[name]) state.form[name] = value;
    state.messages = read.messages.filter(each => ["user", "assistant", "tool"].includes(each?.role)).map(imported);
    state.exchange = null;
    build();
  } catch {
    notice.replaceChildren(el("p", {}, t("import_bad")));
    notice.hidden = false;
  }
}

function imported(message) {
  const text = value => (typeof value === "string" ? value : "");
  return {
    role: message.role, content: text(message.content), reasoning: text(message.reasoning), tool_call_id: text(message.tool_call_id),
    finish: text(message.finish), format: text(message.format) || "text", schema: message.schema ?? null,
    calls: (Array.isArray(message.calls) ? message.calls : []).map(call => ({
      id: text(call?.id), name: text(call?.name), arguments: text(call?.arguments), result: text(call?.result),
    })),
  };
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
  state.messages = [];
  state.exchange = null;
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
  const starts = el("div", { id: "starts", hidden: state.messages.length > 0 }, el("p", {}, t("empty")),
    el("div", { class: "buttons" }, Object.keys(STARTS).map(name => el("button", { type: "button", onclick: () => start(name) }, t(name)))));
  const wide = matchMedia("(min-width: 62rem)").matches;
  main.replaceChildren(el("h1", { class: "offscreen" }, "Tessera Playground"), el("div", { class: "playground" },
    el("details", { class: "panel", open: wide || !state.key }, el("summary", {}, el("h2", {}, t("settings"))), form.build()),
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
    Object.assign(state, { messages: messages.map(imported), draft: last?.content ?? "" });
  } catch {
    // A link that was cut short: the playground opens empty.
  }
}

takeRequest();
keepLanguage(() => !state.running, build);
themeButton();
build();
if (state.key) connect();
