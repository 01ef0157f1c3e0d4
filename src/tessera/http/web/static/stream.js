// A chat request over fetch: its events with the time of their arrival, and the reply that they add up to.

export class ApiError extends Error {
  constructor(status, error, headers) {
    super(error?.message ?? `HTTP ${status}`);
    this.status = status;
    this.code = error?.code ?? "";
    this.param = error?.param ?? "";
    this.retryAfter = headers?.get("retry-after") ?? "";
  }
}

// Yields the `data` of each server-sent event.
export async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const frames = rest.split("\n\n");
      rest = frames.pop();
      for (const frame of frames) {
        const lines = frame.split("\n").filter(line => line.startsWith("data:"));
        if (lines.length) yield lines.map(line => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export async function failure(answer) {
  const text = await answer.text();
  let error = null;
  try {
    error = JSON.parse(text).error;
  } catch {
    error = { message: text.slice(0, 500) || answer.statusText };
  }
  return new ApiError(answer.status, error, answer.headers);
}

// The message that the deltas of one choice add up to.
export class Reply {
  #index;
  content = "";
  reasoning = "";
  calls = [];
  logprobs = [];
  finish = null;
  usage = null;

  constructor(index = 0) {
    this.#index = index;
  }

  get hasBegun() {
    return Boolean(this.content || this.reasoning || this.calls.length);
  }

  add(chunk) {
    if (chunk.usage) this.usage = chunk.usage;
    const choice = chunk.choices?.find(each => (each.index ?? 0) === this.#index);
    if (!choice) return;
    const delta = choice.delta ?? {};
    this.content += delta.content ?? "";
    this.reasoning += delta.reasoning_content ?? "";
    for (const part of delta.tool_calls ?? []) {
      const call = (this.calls[part.index] ??= { id: "", name: "", arguments: "" });
      call.id ||= part.id ?? "";
      call.name ||= part.function?.name ?? "";
      call.arguments += part.function?.arguments ?? "";
    }
    if (choice.logprobs?.content) this.logprobs.push(...choice.logprobs.content);
    this.finish = choice.finish_reason ?? this.finish;
  }
}

// Sends the request and calls `onevent(data, ms, chunk)` for each event. Returns what is known of the answer's head.
export async function chat(body, key, signal, onhead, onevent) {
  const started = performance.now();
  const answer = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  onhead(answer.status, [...answer.headers], performance.now() - started);
  if (!answer.ok) throw await failure(answer);
  if (!body.stream) {
    const text = await answer.text();
    const whole = JSON.parse(text);
    const choices = whole.choices.map(choice => {
      const calls = (choice.message.tool_calls ?? []).map((call, index) => ({ ...call, index }));
      return { ...choice, delta: { ...choice.message, tool_calls: calls } };
    });
    onevent(text, performance.now() - started, { ...whole, choices });
    return;
  }
  let ended = false;
  for await (const data of events(answer.body)) {
    const at = performance.now() - started;
    if (data === "[DONE]") {
      ended = true;
      onevent(data, at, null);
      continue;
    }
    const chunk = JSON.parse(data);
    onevent(data, at, chunk.error ? null : chunk);
    if (chunk.error) throw new ApiError(200, chunk.error, null);
  }
  if (!ended) throw new TypeError("The connection was lost before the end of the reply.");
}
