// What the documentation can do with scripts: tabs, copying, the search, and examples with the reader's own values.
import { byId, copyButton, el, tabList, themeButton } from "./dom.js";

const side = document.querySelector(".side");
const words = side.dataset;
const ADDRESS = "http://127.0.0.1:8000";
const MODEL = "Qwen/Qwen3.6-35B-A3B";
const KEY = /\$\{?TESSERA_API_KEY\}?/g;
const ANNOUNCED = /sk-tessera-…/g;

function showTabs() {
  const groups = [...document.querySelectorAll(".tabs")].map((group, n) => {
    const tabs = [...group.querySelectorAll(":scope > .tab")];
    const names = tabs.map((tab, i) => {
      tab.id = `code-${n}-${i}`;
      tab.setAttribute("role", "tabpanel");
      return [`${n}-${tab.dataset.label}`, tab.dataset.label, tab.id];
    });
    const show = label => tabs.forEach(tab => (tab.hidden = tab.dataset.label !== label));
    return { group, names, show, labels: names.map(([, label]) => label) };
  });
  const kept = localStorage.getItem("code");
  for (const each of groups) {
    const first = each.labels.includes(kept) ? kept : each.labels[0];
    each.n = each.names[0][0].split("-")[0];
    each.list = tabList("code", each.names, `${each.n}-${first}`, name => {
      const label = name.slice(name.indexOf("-") + 1);
      each.show(label);
      if (!each.list) return;
      localStorage.setItem("code", label);
      for (const other of groups) {
        if (other === each || !other.labels.includes(label) || other.now === label) continue;
        other.now = label;
        other.list.choose(`${other.n}-${label}`);
      }
      each.now = label;
    });
    each.group.prepend(each.list);
  }
}

function offerCopies() {
  for (const block of document.querySelectorAll(".code"))
    block.append(copyButton(words.copy, words.copied, () => block.querySelector("code").textContent));
}

// The text nodes of all examples, as they are printed.
function printed() {
  return [...document.querySelectorAll(".code code")].flatMap(code => {
    const walker = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) found.push([walker.currentNode, walker.currentNode.data]);
    return found;
  });
}

// The model to name in examples: the printed one, if this server has it for this key.
async function modelOf(key) {
  const answer = await fetch("/v1/models", { headers: { Authorization: `Bearer ${key}` } });
  if (!answer.ok) throw new Error(words.keyRefused);
  const names = (await answer.json()).data.map(model => model.id);
  return names.includes(MODEL) ? MODEL : names[0] ?? MODEL;
}

// The server's address is the one that the page came from; the key and the model are filled in if the reader types a key.
function fillExamples() {
  const nodes = printed();
  const status = el("p", { role: "status" });
  const fill = (key, model) => nodes.forEach(([node, text]) => {
    const named = text.replaceAll(ADDRESS, location.origin).replaceAll(MODEL, () => model);
    const filled = key ? named.replace(KEY, key).replace(ANNOUNCED, key) : named;
    if (filled !== node.data) node.data = filled;
  });
  let asked = 0;
  const use = async typed => {
    const turn = ++asked;
    const key = /^[\w.-]+$/.test(typed) ? typed : "";
    status.textContent = "";
    fill(key, MODEL);
    if (!key) return;
    try {
      const model = await modelOf(key);
      if (turn === asked) fill(key, model);
    } catch (error) {
      if (turn === asked) status.textContent = error.message;
    }
  };
  const kept = sessionStorage.getItem("key") ?? "";
  use(kept);
  if (!nodes.some(([, text]) => text.search(KEY) >= 0 || text.includes(MODEL))) return;
  const input = el("input", { id: "own-key", type: "password", value: kept, autocomplete: "off", spellcheck: false, onchange: () => use(input.value.trim()) });
  side.querySelector("[role=search]").after(el("details", { class: "own" }, el("summary", {}, words.fillKey),
    el("label", { htmlFor: "own-key" }, words.key), input, el("small", {}, words.keyHint), status));
}

const fold = text => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

function search() {
  const box = document.querySelector("[role=search]");
  const field = byId("search");
  const results = byId("results");
  const found = byId("found");
  box.hidden = false;
  let index = null;
  const language = document.documentElement.lang;
  async function load() {
    index ??= fetch(`/docs/${language}/search.json`)
      .then(answer => answer.json())
      .then(rows => rows.map(([href, page, title, text]) => ({ href, page, title, text, folded: fold(text), head: fold(`${page} ${title}`) })));
    return index;
  }
  function excerpt(row, first) {
    const near = Math.max(0, row.folded.indexOf(first) - 40);
    const at = near && row.text.indexOf(" ", near) + 1;
    return (at ? "…" : "") + row.text.slice(at, at + 120);
  }
  field.addEventListener("focus", load);
  field.addEventListener("input", async () => {
    const wanted = fold(field.value).split(/\s+/).filter(Boolean);
    if (!wanted.length) {
      results.replaceChildren();
      found.textContent = "";
      return;
    }
    const rows = await load();
    // A section of that name comes first, then those that have the words in their names, then those that say them most.
    const rank = row => (fold(row.title) === wanted.join(" ") ? 1e6 : 0) + wanted.reduce((n, word) => n + (row.head.includes(word) ? 1e3 : 0) + row.folded.split(word).length, 0);
    const hits = rows
      .filter(row => wanted.every(word => row.head.includes(word) || row.folded.includes(word)))
      .map(row => [rank(row), row])
      .sort((a, b) => b[0] - a[0]);
    found.textContent = hits.length ? `${hits.length} ${words.results}` : words.noResults;
    results.replaceChildren(...hits.slice(0, 20).map(([, row]) =>
      el("li", {}, el("a", { href: row.href }, row.title === row.page ? row.page : `${row.page} › ${row.title}`), el("p", {}, excerpt(row, wanted[0])))));
  });
  addEventListener("keydown", event => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      field.focus();
    } else if (event.key === "Escape" && document.activeElement === field) {
      field.value = "";
      field.dispatchEvent(new Event("input"));
    }
  });
}

// The link to the other language leads to the section that is being read.
function keepPlace() {
  const link = byId("language");
  if (!link || !link.href) return;
  link.addEventListener("click", () => {
    const heads = [...document.querySelectorAll("[data-twin]")];
    const above = heads.filter(head => head.getBoundingClientRect().top < 160);
    const here = above.at(-1);
    if (here && here.tagName !== "H1") link.hash = here.dataset.twin;
  });
}

function nameTables() {
  for (const frame of document.querySelectorAll(".table")) {
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", words.table);
  }
}

// On a small screen the list of pages would stand before each page.
function foldContents() {
  if (matchMedia("(max-width: 48rem)").matches) document.querySelector(".contents").open = false;
}

themeButton();
foldContents();
fillExamples();
showTabs();
offerCopies();
nameTables();
search();
keepPlace();
