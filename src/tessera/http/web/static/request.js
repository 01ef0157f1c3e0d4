// The form and the conversation become the body of a request; and a body becomes curl, Python and Node.

const NUMBERS = [
  "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed",
];
export const SAMPLING = NUMBERS;

export const DEFAULTS = {
  model: "", system: "", mode: "direct", budget: "", stream: true, max_tokens: "", stop: "", logprobs: false,
  top_logprobs: "2", temperature: "", top_p: "", top_k: "", min_p: "", presence_penalty: "", frequency_penalty: "",
  repetition_penalty: "", seed: "", tools: "", tool_choice: "auto", parallel: true, format: "text",
  schema_name: "reply", schema: "", strict: true, n: "", versus: "", script: "",
};

// The values of the form for each model that is to reply; `versus` names the second one, after its mode.
export function variants(form) {
  const [, mode, model] = /^(direct|thinking) (.+)$/.exec(form.versus) ?? [];
  return model ? [form, { ...form, mode, model }] : [form];
}

// Returns the JSON value of a field, or notes what is wrong with it.
export function parsed(text, field, problems) {
  try {
    return JSON.parse(text);
  } catch (error) {
    problems.push({ field, message: error.message });
    return undefined;
  }
}

function asMessage(message) {
  if (message.role !== "assistant") {
    const sent = { role: message.role, content: message.content };
    return message.role === "tool" ? { ...sent, tool_call_id: message.tool_call_id } : sent;
  }
  const sent = { role: "assistant", content: message.content || null };
  if (message.reasoning) sent.reasoning_content = message.reasoning;
  if (message.calls?.length)
    sent.tool_calls = message.calls.map(call => ({
      id: call.id, type: "function", function: { name: call.name, arguments: call.arguments },
    }));
  return sent;
}

function addTools(body, form, problems) {
  if (!form.tools.trim()) return;
  const tools = parsed(form.tools, "tools", problems);
  if (tools === undefined || (Array.isArray(tools) && !tools.length)) return;
  body.tools = tools;
  const named = !["auto", "none", "required"].includes(form.tool_choice);
  body.tool_choice = named ? { type: "function", function: { name: form.tool_choice } } : form.tool_choice;
  if (!form.parallel) body.parallel_tool_calls = false;
}

function addFormat(body, form, problems) {
  if (form.format === "json_object") body.response_format = { type: "json_object" };
  if (form.format !== "json_schema") return;
  const schema = parsed(form.schema, "schema", problems);
  if (schema === undefined) return;
  body.response_format = {
    type: "json_schema", json_schema: { name: form.schema_name || "reply", schema, strict: form.strict },
  };
}

export function buildRequest(form, messages) {
  const problems = [];
  const system = form.system.trim() ? [{ role: "system", content: form.system }] : [];
  const body = { model: form.model, messages: [...system, ...messages.map(asMessage)], stream: form.stream };
  if (form.stream) body.stream_options = { include_usage: true };
  for (const name of [...NUMBERS, "n", "max_tokens"]) {
    if (form[name] === "") continue;
    const value = Number(form[name]);
    if (Number.isFinite(value)) body[name === "max_tokens" ? "max_completion_tokens" : name] = value;
    else problems.push({ field: name, message: form[name] });
  }
  const stops = form.stop.split("\n").filter(Boolean);
  if (stops.length) body.stop = stops;
  if (form.logprobs) {
    body.logprobs = true;
    body.top_logprobs = Number(form.top_logprobs) || 0;
  }
  if (form.mode === "thinking") {
    body.chat_template_kwargs = { enable_thinking: true };
    if (form.budget !== "") body.thinking_token_budget = Number(form.budget);
  }
  addTools(body, form, problems);
  addFormat(body, form, problems);
  return { body, problems };
}

// The form and the conversation of a request, as far as the playground has fields for it.
export function readRequest(body) {
  const form = { ...DEFAULTS, stream: body.stream ?? true };
  for (const name of [...NUMBERS, "n"]) if (typeof body[name] === "number") form[name] = String(body[name]);
  const most = body.max_completion_tokens ?? body.max_tokens;
  if (most) form.max_tokens = String(most);
  if (body.model) form.model = String(body.model);
  if (body.stop) form.stop = [].concat(body.stop).join("\n");
  if (body.chat_template_kwargs?.enable_thinking ?? body.enable_thinking) form.mode = "thinking";
  if (body.thinking_token_budget) form.budget = String(body.thinking_token_budget);
  if (body.logprobs) form.logprobs = true;
  if (body.top_logprobs) form.top_logprobs = String(body.top_logprobs);
  if (body.tools) form.tools = JSON.stringify(body.tools, null, 2);
  if (body.tool_choice) form.tool_choice = body.tool_choice.function?.name ?? (typeof body.tool_choice === "string" ? body.tool_choice : "auto");
  if (body.parallel_tool_calls === false) form.parallel = false;
  const format = body.response_format;
  if (["text", "json_object", "json_schema"].includes(format?.type)) form.format = format.type;
  if (format?.json_schema) {
    form.schema = JSON.stringify(format.json_schema.schema ?? {}, null, 2);
    form.schema_name = format.json_schema.name ?? "reply";
    form.strict = format.json_schema.strict ?? false;
  }
  const text = content => (Array.isArray(content) ? content.map(part => part?.text ?? "").join("") : content ?? "");
  const messages = [];
  for (const message of body.messages ?? []) {
    if (["system", "developer"].includes(message.role)) form.system += (form.system && "\n") + text(message.content);
    else messages.push({
      role: message.role, content: text(message.content), reasoning: message.reasoning_content ?? "", tool_call_id: message.tool_call_id ?? "",
      calls: (message.tool_calls ?? []).map(call => ({ id: call.id, name: call.function?.name, arguments: call.function?.arguments })),
    });
  }
  return { form, messages };
}

const OPENAI = new Set([
  "model", "messages", "stream", "stream_options", "temperature", "top_p", "presence_penalty", "frequency_penalty",
  "seed", "n", "max_completion_tokens", "stop", "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls",
  "response_format",
]);

function python(value, indent = 4) {
  const pad = " ".repeat(indent);
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value))
    return value.length ? `[\n${value.map(each => `${pad}    ${python(each, indent + 4)},\n`).join("")}${pad}]` : "[]";
  if (typeof value === "object") {
    const rows = Object.entries(value).map(([name, each]) => `${pad}    ${JSON.stringify(name)}: ${python(each, indent + 4)},\n`);
    return rows.length ? `{\n${rows.join("")}${pad}}` : "{}";
  }
  return JSON.stringify(value);
}

export function asCurl(body, origin) {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return [
    `curl ${body.stream ? "-N " : ""}${origin}/v1/chat/completions \\`,
    '  -H "Authorization: Bearer $TESSERA_API_KEY" \\',
    '  -H "Content-Type: application/json" \\',
    `  -d '${json}'`,
    "",
  ].join("\n");
}

// A call comes in parts: its name, then its arguments.
const PYTHON_CALLS = [
  "        for call in choice.delta.tool_calls or []:",
  '            print(call.function.name or "", call.function.arguments or "", sep="", end="", flush=True)',
];
const NODE_CALLS = [
  "  {",
  '    process.stdout.write(choice.delta.content ?? "");',
  "    for (const { function: call } of choice.delta.tool_calls ?? [])",
  '      process.stdout.write((call.name ?? "") + (call.arguments ?? ""));',
  "  }",
];

export function asPython(body, origin) {
  const known = Object.entries(body).filter(([name]) => OPENAI.has(name));
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => !OPENAI.has(name)));
  const fields = known.map(([name, value]) => `    ${name}=${python(value)},\n`);
  if (Object.keys(extra).length) fields.push(`    extra_body=${python(extra)},\n`);
  const read = body.stream
    ? [
        "for chunk in completion:",
        "    for choice in chunk.choices:",
        ...(body.n > 1
          ? ["        print(choice.index, choice.delta)"]
          : ['        print(choice.delta.content or "", end="", flush=True)', ...(body.tools ? PYTHON_CALLS : [])]),
        "print()",
      ]
    : ["for choice in completion.choices:", "    print(choice.message)"];
  return [
    "# pip install openai", "import os", "", "from openai import OpenAI", "",
    `client = OpenAI(base_url="${origin}/v1", api_key=os.environ["TESSERA_API_KEY"])`,
    `completion = client.chat.completions.create(\n${fields.join("")})`,
    ...read, "",
  ].join("\n");
}

export function asNode(body, origin) {
  const read = body.stream
    ? [
        "for await (const chunk of completion)",
        "  for (const choice of chunk.choices)",
        ...(body.n > 1
          ? ["    console.log(choice.index, choice.delta);"]
          : body.tools ? NODE_CALLS : ['    process.stdout.write(choice.delta.content ?? "");']),
        "console.log();",
      ]
    : ["for (const choice of completion.choices) console.log(choice.message);"];
  return [
    "// npm install openai", 'import OpenAI from "openai";', "",
    `const client = new OpenAI({ baseURL: "${origin}/v1", apiKey: process.env.TESSERA_API_KEY });`,
    `const completion = await client.chat.completions.create(${JSON.stringify(body, null, 2)});`,
    ...read, "",
  ].join("\n");
}
