// The few functions with which pages are built. Text is only ever set as text: there is no HTML in strings.

export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name in node && name !== "list" && name !== "form") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter(child => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = id => document.getElementById(id);

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS there is no clipboard API, but on this machine itself.
    const area = el("textarea", { value: text, class: "offscreen" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function copyButton(label, done, read) {
  const button = el("button", { type: "button", class: "copy" }, label);
  button.addEventListener("click", async () => {
    await copyText(read());
    button.textContent = done;
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

export function saveFile(name, content) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: "text/plain;charset=utf-8" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

export function themeButton() {
  const button = byId("theme");
  if (!button) return;
  const root = document.documentElement;
  button.hidden = false;
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  });
}

// Arrow keys move between the tabs of a list, as the ARIA pattern has it.
export function tabList(label, tabs, chosen, onchoose) {
  const buttons = tabs.map(([name, text, panel]) =>
    el("button", {
      type: "button", role: "tab", id: `tab-${name}`, "aria-controls": panel ?? null,
      onclick: () => choose(name),
    }, text));
  function choose(name, focus = false) {
    tabs.forEach(([each], n) => {
      const on = each === name;
      buttons[n].setAttribute("aria-selected", String(on));
      buttons[n].tabIndex = on ? 0 : -1;
      if (on && focus) buttons[n].focus();
    });
    onchoose(name);
  }
  const list = el("div", { role: "tablist", "aria-label": label, class: "tablist" }, buttons);
  list.addEventListener("keydown", event => {
    const here = buttons.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (here < 0 || !step) return;
    event.preventDefault();
    choose(tabs[(here + step + tabs.length) % tabs.length][0], true);
  });
  choose(chosen);
  list.choose = choose;
  return list;
}
