// The official client for Node.

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { ANSWER, CALL, KEY, LEON, MODEL, REFUSING_URL, REPORT, TWO_CALLS, URL } from "./probe.mjs";
import { equal, holds, prompt, run, waitUntilIdle } from "./probe.mjs";

const client = new OpenAI({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const refusing = (apiKey = KEY) => new OpenAI({ baseURL: REFUSING_URL, apiKey, maxRetries: 0 });
const { completions } = client.chat;

const Report = z.object({ sky: z.enum(["sun", "rain"]), days: z.number().int().nullable() });
const Weather = z.object({ city: z.string(), days: z.number().int() });
const briefly = { max_tokens: 200, temperature: 0 };
const asked = (...replies) => ({ model: MODEL, messages: [{ role: "user", content: prompt(...replies) }] });

async function loop(first, n) {
  const heard = [];
  const weather = {
    name: "weather",
    description: "The weather of a city.",
    parameters: z.toJSONSchema(Weather),
    parse: JSON.parse,
    function: (wanted) => (heard.push(wanted), "sun"),
  };
  const request = { ...asked(first, ANSWER), tools: [{ type: "function", function: weather }] };
  for (const stream of [false, true]) {
    heard.length = 0;
    equal(await completions.runTools({ ...request, stream }).finalContent(), ANSWER);
    equal(heard, Array(n).fill(LEON));
  }
}

const checks = {
  reply: async () => equal((await completions.create(asked(ANSWER))).choices[0].message.content, ANSWER),

  stream: async () => {
    const deltas = [];
    const stream = completions.stream(asked(ANSWER));
    stream.on("content", (delta) => deltas.push(delta));
    equal([await stream.finalContent(), deltas.join("")], [ANSWER, ANSWER]);
    holds(deltas.length > 3, "all came at once");
  },

  tools: () => loop(CALL, 1),
  parallel: () => loop(TWO_CALLS, 2),

  structured: async () => {
    const request = { ...asked(JSON.stringify(REPORT)), response_format: zodResponseFormat(Report, "report") };
    equal((await completions.parse(request)).choices[0].message.parsed, REPORT);
    const final = await completions.stream(request).finalChatCompletion();
    equal(final.choices[0].message.parsed, REPORT);
  },

  reasoning: async () => {
    const request = asked({ reasoning: "Let me see.", text: ANSWER });
    const reply = await completions.create({ ...request, chat_template_kwargs: { enable_thinking: true } });
    const { content, reasoning_content } = reply.choices[0].message;
    equal([reasoning_content, content], ["Let me see.", ANSWER]);
  },

  usage: async () => {
    const { usage } = await completions.create(asked(ANSWER));
    const options = { stream: true, stream_options: { include_usage: true } };
    let last;
    for await (const chunk of await completions.create({ ...asked(ANSWER), ...options })) last = chunk;
    equal(last.usage, usage);
  },

  cancel: async () => {
    const request = { ...asked({ endless: true }), stream: true };
    for await (const chunk of await refusing().chat.completions.create(request)) break;
    await waitUntilIdle();
  },

  real: async () => {
    const response_format = zodResponseFormat(Report, "report");
    const reply = await completions.parse({ ...asked(), response_format, ...briefly });
    Report.parse(reply.choices[0].message.parsed);
    const tools = [zodFunction({ name: "weather", parameters: Weather })];
    const forced = { tools, tool_choice: "required", parallel_tool_calls: false, ...briefly };
    const { choices } = await completions.parse({ ...asked(), ...forced });
    Weather.parse(choices[0].message.tool_calls[0].function.parsed_arguments);
  },
};

await run(checks, ({ prompt, key, model, temperature }) => {
  const messages = [{ role: "user", content: prompt }];
  return refusing(key).chat.completions.create({ model, temperature, messages });
});
