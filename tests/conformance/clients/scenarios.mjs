// The official client for Node against running servers. A line of standard input names a scenario, the address
// of a server and a key; the line printed for it is what came of the scenario. All lines are JSON.

import { createInterface } from "node:readline";

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const Weather = z.object({ city: z.string(), days: z.number().int() });
const Report = z.object({ sky: z.enum(["sun", "rain"]), place: Weather.nullable() });
const asked = { model: "alias", messages: [{ role: "user", content: "Weather in León?" }] };
const tools = [zodFunction({ name: "weather", parameters: Weather })];

const runnable = (heard) => [
  {
    type: "function",
    function: {
      name: "weather",
      parameters: z.toJSONSchema(Weather),
      parse: JSON.parse,
      function: (wanted) => {
        heard.push(wanted);
        return "sun";
      },
    },
  },
];

async function gathered(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const scenariosOf = (client) => ({
  whole: () => client.chat.completions.create({ ...asked, logprobs: true, n: 2 }),

  streamed: async () =>
    gathered(
      await client.chat.completions.create({
        ...asked,
        stream: true,
        stream_options: { include_usage: true },
      }),
    ),

  abandoned: async () => {
    const stream = await client.chat.completions.create({ ...asked, stream: true });
    for await (const chunk of stream) return chunk;
  },

  calls: async () => (await client.chat.completions.create({ ...asked, tools })).choices[0],

  streamedCalls: async () => {
    const stream = client.chat.completions.stream({ ...asked, tools });
    const done = [];
    stream.on("tool_calls.function.arguments.done", (call) => done.push(call));
    const completion = await stream.finalChatCompletion();
    return { done, choice: completion.choices[0] };
  },

  toolLoop: async () => {
    const wanted = [];
    const runner = client.chat.completions.runTools({ ...asked, tools: runnable(wanted) });
    return { content: await runner.finalContent(), wanted, messages: runner.messages };
  },

  streamedToolLoop: async () => {
    const wanted = [];
    const runner = client.chat.completions.runTools({ ...asked, tools: runnable(wanted), stream: true });
    let content = "";
    runner.on("content", (delta) => (content += delta));
    return { content: (await runner.finalContent()) && content, wanted, messages: runner.messages };
  },

  parsed: async () => {
    const response_format = zodResponseFormat(Report, "report");
    const reply = await client.chat.completions.parse({ ...asked, response_format });
    return reply.choices[0].message.parsed;
  },

  streamedParsed: async () => {
    const response_format = zodResponseFormat(Report, "report");
    const stream = client.chat.completions.stream({ ...asked, response_format });
    return (await stream.finalChatCompletion()).choices[0].message.parsed;
  },

  refused: async () => {
    try {
      return await client.chat.completions.create({ ...asked, temperature: 3 });
    } catch (error) {
      const { status, code, param, type, requestID } = error;
      return { name: error.constructor.name, status, code, param, type, requestID };
    }
  },

  models: async () => gathered(client.models.list()),
});

for await (const line of createInterface({ input: process.stdin })) {
  const { scenario, baseURL, apiKey } = JSON.parse(line);
  const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  console.log(JSON.stringify(await scenariosOf(client)[scenario]()));
}
