// Requests to Rota's own API with the session's cookie; errors become messages people can act on.

const csrf = () => document.querySelector('meta[name="csrf"]')?.content ?? "";

export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail ?? "the server did not answer");
    this.hint = problem.hint ?? "";
    this.status = problem.status ?? 0;
    this.requestId = problem.request_id ?? "";
  }
}

// The request or its answer was lost on the way.
export class NoAnswer extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new NoAnswer();
  }
  return answer(response);
}

async function answer(response) {
  if (response.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError({ status: response.status, ...body });
  return body;
}

export async function get(path) {
  return send(path, { headers: { Accept: "application/json" } });
}

export async function post(path, body = {}) {
  const key = crypto.getRandomValues(new Uint32Array(4)).join("-");
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf(), "Idempotency-Key": key };
  return send(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export function toast(text, { error = false, detail = "", link = null } = {}) {
  const box = document.createElement("div");
  box.className = error ? "toast error" : "toast";
  if (error) box.setAttribute("role", "alert");
  const words = document.createElement("div");
  words.append(text);
  if (link) {
    const anchor = document.createElement("a");
    anchor.href = link.href;
    anchor.textContent = link.text;
    words.append(" ", anchor);
  }
  if (detail) {
    const small = document.createElement("small");
    small.textContent = detail;
    words.append(small);
  }
  const close = document.createElement("button");
  close.textContent = "×";
  close.setAttribute("aria-label", "Close this message");
  close.addEventListener("click", () => box.remove());
  box.append(words, close);
  document.getElementById("toasts").append(box);
  if (!error) setTimeout(() => box.remove(), 6000);
}
