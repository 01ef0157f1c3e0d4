// One turn: the request goes to each model that is compared, and each choice of a reply is written to a card of its own.
import { chat, Reply } from "./stream.js";
import { t } from "./strings.js";

const WAITING_MS = 200;
const MAX_CHOICES = 8; // as the API has it

// What a reply has, as the card shows it while it is written.
class Writer {
  #shown = 0;
  #reasoned = 0;

  constructor(card, index) {
    this.card = card;
    this.reply = new Reply(index);
  }

  add(chunk) {
    const { card, reply } = this;
    reply.add(chunk);
    if (reply.reasoning.length > this.#reasoned) {
      card.thinking.hidden = false;
      card.thinking.open = true;
      card.reasoning.append(reply.reasoning.slice(this.#reasoned));
      this.#reasoned = reply.reasoning.length;
    }
    if (reply.content.length > this.#shown) {
      card.stream.push(reply.content.slice(this.#shown));
      this.#shown = reply.content.length;
    }
    if (reply.calls.length) card.calls.textContent = reply.calls.map(call => `${call.name}(${call.arguments})`).join("\n");
  }
}

// One request, and its choices.
class Lane {
  error = null;
  firstMs = null;
  totalMs = 0;

  constructor(body, title, cards) {
    this.body = body;
    this.title = title;
    this.exchange = { title, request: body, events: [], status: 0, headers: [], headMs: 0 };
    this.writers = cards.map((card, index) => new Writer(card, index));
  }

  async run(key, signal, onprogress) {
    const started = performance.now();
    const waiting = setInterval(() => {
      if (this.firstMs === null)
        this.#foot(`${t("waiting")} ${((performance.now() - started) / 1000).toFixed(1)} s`);
    }, WAITING_MS);
    try {
      await chat(this.body, key, signal,
        (status, headers, headMs) => Object.assign(this.exchange, { status, headers, headMs }),
        (data, at, chunk) => {
          this.exchange.events.push([at, data]);
          if (chunk) this.#add(chunk, at);
          onprogress(this);
        });
    } catch (error) {
      this.error = error;
    }
    clearInterval(waiting);
    this.totalMs = performance.now() - started;
    for (const { card } of this.writers) card.stream.end();
  }

  #add(chunk, at) {
    for (const writer of this.writers) writer.add(chunk);
    if (this.firstMs === null && this.writers.some(({ reply }) => reply.hasBegun)) {
      this.firstMs = at;
      this.#foot("");
    }
  }

  #foot(text) {
    for (const { card } of this.writers) card.foot.textContent = text;
  }

  // The messages that its choices have become, with their cards; also of a reply of which only a part came.
  *messages(turn, models) {
    const { body, firstMs, totalMs } = this;
    const format = body.response_format;
    const toolSchemas = Object.fromEntries((body.tools ?? []).map(tool => [tool?.function?.name, tool?.function?.parameters]));
    for (const [n, { card, reply }] of this.writers.entries()) {
      if (!reply.hasBegun && !reply.usage) {
        card.root.remove();
        continue;
      }
      const choices = this.writers.length;
      const usage = n === 0 ? reply.usage : null; // it is that of all choices
      const { content, reasoning, calls, finish, logprobs } = reply;
      const message = {
        role: "assistant", content, reasoning, calls, finish, logprobs, turn, toolSchemas,
        title: choices > 1 ? `${this.title} · ${n + 1}` : this.title, stats: { usage, firstMs, totalMs, choices },
        format: format?.type ?? "text", schema: format?.json_schema?.schema ?? null,
        contextLength: models.find(model => model.id === body.model)?.context_length ?? 0,
      };
      yield { card, message };
    }
  }
}

export class Turn {
  // `requests` are bodies with titles; `thread` makes the cards.
  constructor(requests, thread) {
    const counts = requests.map(({ body }) => Math.max(1, Math.min(Math.floor(body.n ?? 1), MAX_CHOICES)));
    const titles = requests.flatMap(({ title }, at) => Array.from({ length: counts[at] }, (_, n) => (counts[at] > 1 ? `${title} · ${n + 1}` : title)));
    const cards = thread.begin(titles.length > 1 ? titles : [""]);
    this.lanes = requests.map(({ body, title }, at) => new Lane(body, title, cards.splice(0, counts[at])));
    this.exchanges = this.lanes.map(lane => lane.exchange);
  }

  // Ends when all replies have; the first error is that of the turn.
  async run(key, signal, onprogress) {
    await Promise.all(this.lanes.map(lane => lane.run(key, signal, onprogress)));
    return this.lanes.map(lane => lane.error).find(Boolean) ?? null;
  }

  // Adds all replies to the conversation, which goes on from the first one.
  settle(conversation, thread, models) {
    const parent = conversation.last();
    const turn = Date.now();
    const settled = this.lanes.flatMap(lane => [...lane.messages(turn, models)]);
    const nodes = settled.map(({ message }, n) => conversation.add(message, parent, n === 0));
    nodes.forEach((node, n) => thread.finish(settled[n].card, node));
    return nodes.length > 0;
  }
}
