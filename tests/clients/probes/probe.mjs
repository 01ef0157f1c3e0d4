// For Node what probe.py is for Python.

import assert from "node:assert";
import { appendFileSync } from "node:fs";

export const env = process.env;
export const [URL, REFUSING_URL] = [`${env.PROBE_SERVER}/v1`, `${env.PROBE_SERVER}/expected/v1`];
export const [KEY, MODEL, REAL] = [env.PROBE_KEY, env.PROBE_MODEL, "PROBE_REAL" in env];

export const LEON = { city: "León", days: 3 };
export const REPORT = { sky: "sun", days: 3 };
export const [CALL, TWO_CALLS] = [1, 2].map((n) => ({ calls: Array(n).fill(["weather", LEON]) }));
export const ANSWER = "It is ¡Sol! 👋 in León.";

const REFUSED = {
  400: { temperature: 3 },
  401: { key: "sk-tessera-" + "x".repeat(40) },
  404: { model: "no-such-model" },
  413: { key: env.PROBE_SMALL_KEY, prompt: "word ".repeat(1000) },
  429: { key: env.PROBE_SPENT_KEY },
};

export function prompt(...replies) {
  const text = "What is the weather in León? Answer in JSON.";
  const said = Buffer.from(JSON.stringify(replies)).toString("base64");
  return REAL ? text : `${text} [[say]]${said}[[end]]`;
}

export const equal = assert.deepStrictEqual;

export function holds(condition, what) {
  if (!condition) throw new Error(what);
}

export async function waitUntilIdle(withinS = 20) {
  const ends = Date.now() + 1000 * withinS;
  while ((await (await fetch(`${env.PROBE_SERVER}/running`)).text()) !== "0") {
    holds(Date.now() < ends, "the server still generates");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The class of the error that the client throws for a refusal. */
async function shown(ask, status) {
  const refused = { key: KEY, model: MODEL, temperature: 1, prompt: prompt("Yes."), ...REFUSED[status] };
  for (let i = 0; i < 2; i++) {
    try {
      await ask(refused);
    } catch (error) {
      const found = error.status ?? error.statusCode;
      holds(found === Number(status), `the error does not show ${status}: ${error}`);
      return error.constructor.name;
    }
  }
  throw new Error("no error was thrown");
}

export async function run(checks, ask) {
  const errors = Object.keys(REFUSED).map((status) => [status, () => shown(ask, status)]);
  for (const [check, test] of [...Object.entries(checks), ...errors]) {
    if ((check === "real") !== REAL) continue;
    let line;
    try {
      line = { check, ok: true, shown: (await test()) ?? null };
    } catch (error) {
      line = { check, ok: false, shown: `${error}`.slice(0, 600) };
    }
    appendFileSync(env.PROBE_RESULTS, JSON.stringify(line) + "\n");
  }
}
