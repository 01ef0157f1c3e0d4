// What a person can do about an error: by its code where that says more, else by its status.
import { ApiError } from "./stream.js";
import { currentLanguage, t } from "./strings.js";

const BY_CODE = {
  invalid_api_key: "e401", quota_exceeded: "e_quota", thinking_quota_exceeded: "e_thinking_quota", rate_limit_exceeded: "e_rate",
  concurrency_limit_exceeded: "e_concurrency", draining: "e_draining", engine_overloaded: "e_busy", queue_timeout: "e_busy",
  store_unavailable: "e_store", request_cancelled: "e_cancelled", request_too_large: "e_large",
};
const BY_STATUS = { 400: "e400", 401: "e401", 403: "e403", 404: "e404", 413: "e413", 422: "e422", 429: "e429" };
const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60]];

// "in 12 hours": the largest unit of which there are at least two, rounded up.
function after(seconds) {
  const [unit, size] = UNITS.find(([, size]) => seconds >= 2 * size) ?? ["second", 1];
  return new Intl.RelativeTimeFormat(currentLanguage()).format(Math.ceil(seconds / size), unit);
}

export function advice(error) {
  if (!(error instanceof ApiError)) return t("elost");
  const known = t(BY_CODE[error.code] ?? BY_STATUS[error.status] ?? "e5xx");
  const seconds = Number(error.retryAfter);
  return error.status === 429 && seconds > 0 ? `${known} ${t("e429_wait", { when: after(seconds) })}` : known;
}
