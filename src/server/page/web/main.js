// Connects the parts of the page: the chat, the panel of the cache, the key, the colours, and what a phone shows.

import { onKeyWanted, setKey } from "./api.js";
import { CachePanel } from "./cache.js";
import { Chat } from "./chat.js";

const get = (id) => document.getElementById(id);

const panel = new CachePanel();
new Chat((id) => panel.follow(id), () => panel.look());

onKeyWanted(() => {
  if (!get("key-form").hidden) return;
  get("key-form").hidden = false;
  get("key").focus();
});
get("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(get("key").value.trim());
  get("key").value = "";
  get("key-form").hidden = true;
  get("prompt").focus();
  panel.look();
});

const themes = ["as the system", "light", "dark"];
function showTheme(theme) {
  if (theme === themes[0]) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  get("theme").title = get("theme-text").textContent = `Colours: ${theme}`;
  panel.recolour();
}
get("theme").addEventListener("click", () => {
  const theme = themes[(themes.indexOf(document.documentElement.dataset.theme ?? themes[0]) + 1) % themes.length];
  localStorage.setItem("nosa-theme", theme);
  showTheme(theme);
});
const kept = localStorage.getItem("nosa-theme");
showTheme(themes.includes(kept) ? kept : themes[0]);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => panel.recolour());

for (const view of ["chat", "cache"]) {
  get(`view-${view}`).addEventListener("click", () => {
    document.body.dataset.view = view;
    for (const other of ["chat", "cache"]) get(`view-${other}`).setAttribute("aria-pressed", String(other === view));
    panel.recolour();
  });
}

panel.start();
