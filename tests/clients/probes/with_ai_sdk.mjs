// The AI SDK with the provider for servers that are compatible with OpenAI's.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import * as ai from "ai";
import { z } from "zod";

import { ANSWER, CALL, KEY, LEON, MODEL, REFUSING_URL, REPORT, TWO_CALLS, URL } from "./probe.mjs";
import { equal, holds, prompt, run, waitUntilIdle } from "./probe.mjs";

const provider = (options = {}) =>
  createOpenAICompatible({
    name: "tessera",
    baseURL: URL,
    apiKey: KEY,
    includeUsage: true,
    supportsStructuredOutputs: true,
    ...options,
  });

const Report = z.object({ sky: z.enum(["sun", "rain"]), days: z.number().int().nullable() });
const Weather = z.object({ city: z.string(), days: z.number().int() });
const briefly = { maxOutputTokens: 200, temperature: 0 };
const asked = (...replies) => ({ model: provider()(MODEL), maxRetries: 0, prompt: prompt(...replies) });
const heard = [];
const weather = ai.tool({
  description: "The weather of a city.",
  inputSchema: Weather,
  execute: async (wanted) => (heard.push(wanted), "sun"),
});

async function deltasOf(stream) {
  const deltas = [];
  for await (const delta of stream) deltas.push(delta);
  return deltas;
}

async function loop(first, n) {
  const request = { ...asked(first, ANSWER), tools: { weather }, stopWhen: ai.stepCountIs(3) };
  heard.length = 0;
  equal((await ai.generateText(request)).text, ANSWER);
  equal((await deltasOf(ai.streamText(request).textStream)).join(""), ANSWER);
  equal(heard, Array(2 * n).fill(LEON));
}

const checks = {
  reply: async () => equal((await ai.generateText(asked(ANSWER))).text, ANSWER),

  stream: async () => {
    const deltas = await deltasOf(ai.streamText(asked(ANSWER)).textStream);
    equal(deltas.join(""), ANSWER);
    holds(deltas.length > 3, "all came at once");
  },

  tools: () => loop(CALL, 1),
  parallel: () => loop(TWO_CALLS, 2),

  structured: async () => {
    const request = { ...asked(JSON.stringify(REPORT)), output: ai.Output.object({ schema: Report }) };
    equal((await ai.generateText(request)).output, REPORT);
    equal(await ai.streamText(request).output, REPORT);
  },

  reasoning: async () => {
    const providerOptions = { tessera: { chat_template_kwargs: { enable_thinking: true } } };
    const request = { ...asked({ reasoning: "Let me see.", text: ANSWER }), providerOptions };
    const { reasoningText, text } = await ai.generateText(request);
    equal([reasoningText, text], ["Let me see.", ANSWER]);
    const streamed = ai.streamText(request);
    equal([await streamed.reasoningText, await streamed.text], ["Let me see.", ANSWER]);
  },

  usage: async () => {
    const n = Buffer.byteLength(ANSWER) + 1;
    equal((await ai.generateText(asked(ANSWER))).usage.outputTokens, n);
    equal((await ai.streamText(asked(ANSWER)).usage).outputTokens, n);
  },

  cancel: async () => {
    const leaving = new AbortController();
    const model = provider({ baseURL: REFUSING_URL })(MODEL);
    const request = { ...asked({ endless: true }), model, abortSignal: leaving.signal };
    for await (const delta of ai.streamText(request).textStream) {
      leaving.abort();
      break;
    }
    await waitUntilIdle();
  },

  real: async () => {
    const output = ai.Output.object({ schema: Report });
    Report.parse((await ai.generateText({ ...asked(), output, ...briefly })).output);
    const tools = { weather: ai.tool({ inputSchema: Weather }) };
    const { toolCalls } = await ai.generateText({ ...asked(), tools, toolChoice: "required", ...briefly });
    Weather.parse(toolCalls[0].input);
  },
};

await run(checks, ({ prompt, key, model, temperature }) =>
  ai.generateText({
    model: provider({ baseURL: REFUSING_URL, apiKey: key })(model),
    maxRetries: 0,
    temperature,
    prompt,
  }),
);
