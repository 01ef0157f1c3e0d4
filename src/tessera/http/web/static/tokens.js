// The tokens of a reply, each with what else it could have been. One of them is chosen, by pointing at it or with the
// arrow keys: a list box with a single tab stop, however long the reply is.
import { el } from "./dom.js";
import { number, t } from "./strings.js";

const MOST = 2000;
const LEVELS = [0.9, 0.5, 0.2, 0]; // of probability, each with a colour
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -Infinity, End: Infinity };

let made = 0;

const percent = logprob => `${number(100 * Math.exp(logprob), 1)} %`;
const quoted = token => JSON.stringify(token);
const level = logprob => LEVELS.findIndex(least => Math.exp(logprob) >= least);
// A line break is seen as a sign, and breaks the line.
const visible = token => token.replaceAll("\n", "⏎\n").replaceAll("\t", "⇥\t");

// The token itself first, then the others.
function candidates({ token, logprob, top_logprobs: others }) {
  const rest = (others ?? []).filter(each => each.token !== token);
  return [{ token, logprob }, ...rest];
}

function details(each) {
  const rows = candidates(each).map(({ token, logprob }, n) => el("tr", {},
    el("th", { scope: "row" }, el("code", {}, quoted(token)), n === 0 && ` ✓ ${t("token_chosen")}`),
    el("td", {}, percent(logprob)),
    el("td", {}, el("meter", { min: 0, max: 1, value: Math.min(1, Math.exp(logprob)), "aria-label": quoted(token) }))));
  return el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, t("token")), el("th", { scope: "col", colSpan: 2 }, t("probability")))),
    el("tbody", {}, rows));
}

export function tokenView(logprobs) {
  const shown = logprobs.slice(0, MOST);
  const id = `tokens-${++made}`;
  const panel = el("div", { class: "candidates table", tabIndex: 0, role: "group", "aria-label": t("alternatives") });
  const options = shown.map((each, n) =>
    el("span", { role: "option", id: `${id}-${n}`, class: `level${level(each.logprob)}`, "aria-selected": "false", "aria-label": quoted(each.token) }, visible(each.token)));
  const list = el("div", { class: "tokens", role: "listbox", tabIndex: 0, "aria-label": t("logprobs") }, options);
  let chosen = -1;

  function choose(n) {
    if (n === chosen) return;
    options[chosen]?.setAttribute("aria-selected", "false");
    chosen = n;
    options[n].setAttribute("aria-selected", "true");
    // Read out as a whole: what is in the panel is not under the focus.
    options[n].setAttribute("aria-label", candidates(shown[n]).map(({ token, logprob }) => `${quoted(token)} ${percent(logprob)}`).join("; "));
    list.setAttribute("aria-activedescendant", options[n].id);
    panel.replaceChildren(details(shown[n]));
  }
  const point = event => {
    const n = options.indexOf(event.target);
    if (n >= 0) choose(n);
  };
  list.addEventListener("mouseover", point);
  list.addEventListener("click", point);
  list.addEventListener("focus", () => chosen < 0 && choose(0));
  list.addEventListener("keydown", event => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(options.length - 1, chosen + step)));
    options[chosen].scrollIntoView({ block: "nearest" });
  });
  choose(0);
  return el("details", { open: true }, el("summary", {}, t("logprobs")), el("p", { class: "stats" }, t("token_hint"),
    logprobs.length > MOST && ` ${t("tokens_cut", { n: number(MOST), all: number(logprobs.length) })}`), list, panel);
}
