// The button that changes the language of a page in place, without losing what is on it.
import { byId, el } from "./dom.js";
import { otherLanguage, setLanguage, t } from "./strings.js";

export function keepLanguage(allowed, rebuild) {
  setLanguage(document.documentElement.lang);
  const button = el("button", { type: "button", id: "language" });
  const name = () => {
    button.textContent = t("language");
    button.lang = otherLanguage();
    for (const link of document.querySelectorAll(".top nav a")) {
      link.textContent = t(link.dataset.name);
      if (link.dataset.name === "docs") link.href = `/docs/${document.documentElement.lang}/`;
    }
  };
  button.addEventListener("click", () => {
    if (!allowed()) return;
    setLanguage(otherLanguage());
    name();
    rebuild();
  });
  byId("language").replaceWith(button);
  name();
}
