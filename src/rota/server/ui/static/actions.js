// Buttons that do something: one POST to the API, a question first where it matters, a message afterwards.

import { ApiError, NoAnswer, post, toast } from "/static/http.js";

function ask(button) {
  const dialog = document.getElementById("ask");
  document.getElementById("ask-title").textContent = button.dataset.ask;
  document.getElementById("ask-effect").textContent = button.dataset.effect ?? "";
  document.getElementById("ask-yes").textContent = button.textContent.trim();
  document.getElementById("ask-reason-label").hidden = !("reason" in button.dataset);
  const reason = document.getElementById("ask-reason");
  reason.value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => resolve(dialog.returnValue === "yes" ? { reason: reason.value } : null),
      { once: true },
    );
  });
}

// A request without an answer may have been carried out all the same, and only the server knows.
function advice(error) {
  if (error instanceof ApiError) return error.hint;
  if (!(error instanceof NoAnswer)) return "";
  return "It is not certain that nothing was done: look when this page is live again, before you try once more.";
}

async function perform(button) {
  let body = {};
  if (button.dataset.ask) {
    const answer = await ask(button);
    if (!answer) return;
    body = "reason" in button.dataset ? answer : {};
  }
  button.disabled = true;
  try {
    const result = await post(button.dataset.post, body);
    if ("follow" in button.dataset && result.id) {
      toast("Run created.", { link: { href: `/r/${result.id}`, text: "Open it" } });
      if (!button.closest("[data-row]")) location.assign(`/r/${result.id}`);
    } else toast("Done.");
    document.body.dispatchEvent(new CustomEvent("live-change", { detail: { topics: [] } }));
  } catch (error) {
    toast(error.message, { error: true, detail: advice(error) });
  } finally {
    button.disabled = false;
  }
}

export function startActions() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-post]");
    if (button) perform(button);
  });
}
