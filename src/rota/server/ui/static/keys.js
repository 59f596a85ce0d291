// The keyboard: a row is chosen with j and k; letters press the buttons that are on the page.

const typing = (element) => element.closest("input, textarea, select, [contenteditable]") !== null;
const rows = () => [...document.querySelectorAll("[data-row]")];
const chosen = () => document.querySelector("[data-row].at");

function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(chosen());
  const next = all[Math.min(all.length - 1, Math.max(0, at + step))];
  all.forEach((row) => row.classList.toggle("at", row === next));
  next.querySelector(".rowlink")?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function press(selector) {
  const inside = chosen()?.querySelector(selector) ?? document.querySelector(`main ${selector}`);
  inside?.click();
  return Boolean(inside);
}

function go(name) {
  const target = document.querySelector("#run")?.dataset[name];
  if (target) location.assign(`/r/${target}`);
}

const ACTIONS = {
  "/": () => document.getElementById("q")?.focus() ?? document.getElementById("log-find")?.focus(),
  j: () => move(1),
  k: () => move(-1),
  r: () => pressRowOr('[data-post$="/runs"]'),
  p: () => pressRowOr('[data-post$="/pause"]') || pressRowOr('[data-post$="/resume"]'),
  c: () => press('[data-post$="/cancel"]'),
  e: () => press('[data-post$="/retry"]'),
  l: () => press('[data-tab="log"]'),
  w: () => press('[data-tab="why"]'),
  f: () => document.getElementById("log-follow")?.click(),
  g: () => document.getElementById("log-top")?.click(),
  G: () => document.getElementById("log-end")?.click(),
  "[": () => go("before"),
  "]": () => go("after"),
  "?": () => document.getElementById("help").showModal(),
};

function pressRowOr(selector) {
  const row = chosen();
  if (rows().length && document.querySelector(".grid.jobs") && !row) return false;
  const button = (row && row.dataset.job ? row : document.querySelector("main .head"))?.querySelector(selector);
  button?.click();
  return Boolean(button);
}

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (typing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "Enter" && chosen() && event.target === document.body) {
      location.assign(chosen().dataset.href);
      return;
    }
    const action = ACTIONS[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });
  document.querySelector("[data-help]")?.addEventListener("click", ACTIONS["?"]);
}
