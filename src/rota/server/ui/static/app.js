// Starts what a page uses.

import { startActions } from "/static/actions.js";
import { startKeys } from "/static/keys.js";
import { startLive } from "/static/live.js";
import { startLog } from "/static/log_viewer.js";
import { startClock } from "/static/times.js";

function startTabs() {
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  const show = (name) => {
    for (const tab of tabs) {
      const chosen = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
    }
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => show(tab.dataset.tab));
    tab.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
      const other = tabs[(index + 1) % tabs.length];
      other.focus();
      show(other.dataset.tab);
    });
  });
  const wanted = new URLSearchParams(location.search).get("tab");
  if (tabs.some((tab) => tab.dataset.tab === wanted)) show(wanted);
}

document.querySelector("form[data-submit-now]")?.requestSubmit();
startClock();
startTabs();
startActions();
startKeys();
startLog();
startLive();
