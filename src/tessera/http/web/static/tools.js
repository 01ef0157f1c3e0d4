// Results of calls by the user's own script. It runs in a worker, which has neither the page nor the key, and whose own
// policy allows no network; one that does not end is stopped.
import { t } from "./strings.js";

const LIMIT_MS = 5000;
const ADDRESS = "/web/tool_worker.js";
// The policy of the page allows this one address.
const policy = globalThis.trustedTypes?.createPolicy("tool-worker", { createScriptURL: () => ADDRESS });

// The text of the result; rejects with what went wrong.
export function runScript(script, name, args) {
  const worker = new Worker(policy ? policy.createScriptURL(ADDRESS) : ADDRESS);
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(t("script_late", { s: LIMIT_MS / 1000 }))), LIMIT_MS);
    worker.onmessage = ({ data }) => (data?.problem === undefined ? resolve(String(data?.text)) : reject(new Error(data.problem)));
    worker.onerror = event => reject(new Error(event.message));
    worker.postMessage({ script, name, args });
  }).finally(() => worker.terminate());
}
