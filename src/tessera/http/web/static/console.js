// The operator's console on the admin listener: live load, accounts, keys, tiers, usage and audit, a tab each.
import { admin, ask, attempt, button, complain, field } from "./admin.js";
import { accounts, keys, tiers } from "./console_lists.js";
import { live, restart } from "./console_live.js";
import { audit, usage } from "./console_reports.js";
import { byId, el, tabList, themeButton } from "./dom.js";
import { keepLanguage } from "./language.js";
import { t } from "./strings.js";

const main = byId("main");
const EVERY_MS = 2000;
const TABS = { live, accounts, keys, tiers, usage, audit };
const state = { tab: "live", timer: 0 };
let panel;

function open(name) {
  clearInterval(state.timer);
  state.tab = name;
  restart();
  panel.setAttribute("aria-labelledby", `tab-${name}`);
  // Each tab has a place of its own: what an earlier one still fills in is not seen.
  const place = el("div", { class: "tab" }, "…");
  panel.replaceChildren(place);
  const show = () => TABS[name](place, () => place.isConnected);
  attempt(show);
  if (name === "live") state.timer = setInterval(() => document.hidden || again(show), EVERY_MS);
}

// What was wrong is shown until it works again.
let failed = false;
async function again(show) {
  try {
    await show();
    if (failed) admin.notice.hidden = true;
    failed = false;
  } catch (error) {
    complain(error);
    failed = true;
  }
}

function signIn() {
  const key = el("input", { type: "password", autocomplete: "off", spellcheck: false });
  const enter = () => attempt(async () => {
    admin.key = key.value.trim();
    try {
      await ask("/admin/audit?limit=1");
    } catch (error) {
      admin.key = "";
      throw error;
    }
    build();
  });
  key.addEventListener("keydown", event => event.key === "Enter" && enter());
  return [el("div", { class: "row" }, field(t("admin_key"), key), button(t("sign_in"), enter, { class: "primary" })), el("p", {}, t("admin_hint"))];
}

function build() {
  clearInterval(state.timer);
  admin.notice = el("div", { role: "alert", class: "notice", hidden: true });
  panel = el("div", { role: "tabpanel", id: "panel", tabIndex: 0 });
  const page = el("div", { class: "usage console" }, el("h1", {}, t("console")), admin.notice);
  main.replaceChildren(page);
  if (!admin.key) return page.append(...signIn());
  const tabs = Object.keys(TABS).map(name => [name, t(name), "panel"]);
  const out = button(t("sign_out"), () => (admin.key = "", build()));
  return page.append(tabList(t("console"), tabs, state.tab, open), panel, el("p", {}, out));
}

keepLanguage(() => true, build);
themeButton();
build();
