// Runs a script of the user's, as the body of a function of `name` and `args`. The policy with which this file is served
// allows code from text, and nothing else: no network, no other script.
const AsyncFunction = (async () => {}).constructor;

addEventListener("message", async ({ data: { script, name, args } }) => {
  try {
    const result = await new AsyncFunction("name", "args", script)(name, args);
    postMessage({ text: typeof result === "string" ? result : JSON.stringify(result ?? null) });
  } catch (error) {
    postMessage({ problem: String(error) });
  }
});
