// One event stream per page. It says which topics changed; whoever shows them fetches them again. When the stream
// is away the page says so: amber as soon as the connection ends or after 15 s of silence, dimmed after 60 s, and
// nothing pretends to be fresh.

const STALE = 15000;
const GONE = 60000;
let source = null;
let heard = Date.now();
let lost = false; // the connection ended, and no new one has brought anything yet
let position = "";

function say(state, text) {
  const live = document.getElementById("live");
  if (!live) return;
  live.dataset.state = state;
  live.querySelector("span").textContent = text;
}


function hear(event) {
  heard = Date.now();
  lost = false;
  position = event.lastEventId || position;
  show();
}

function changed(topics) {
  const detail = { topics };
  if (topics.some((topic) => !topic.startsWith("log:")) || topics.length === 0) {
    document.body.dispatchEvent(new CustomEvent("live-change", { detail }));
  }
  document.body.dispatchEvent(new CustomEvent("live-topics", { detail }));
}

function connect() {
  const topics = document.body.dataset.topics;
  if (!topics || source) return;
  // From the position the page was made at, so that nothing in between is missed.
  source = new EventSource(`/api/v1/stream?${new URLSearchParams({ topics, since: position })}`);
  source.addEventListener("hello", hear);
  source.addEventListener("beat", hear);
  source.addEventListener("reset", (event) => {
    hear(event);
    changed([]);
  });
  source.addEventListener("changed", (event) => {
    hear(event);
    changed(JSON.parse(event.data).topics);
  });
  source.addEventListener("error", () => {
    lost = true;
    show();
    if (source?.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(connect, 3000);
    }
  });
}

function show() {
  const age = Date.now() - heard;
  const gone = age > GONE;
  document.body.classList.toggle("gone", gone);
  const banner = document.getElementById("nosignal");
  banner.hidden = !gone;
  if (gone) {
    const since = new Date(heard).toLocaleTimeString("en-GB");
    const text = `No signal since ${since} — showing old data`;
    if (banner.textContent !== text) banner.textContent = text;
    say("gone", "no signal");
  } else if (lost) say("stale", "not connected");
  else if (age > STALE) say("stale", `${Math.round(age / 1000)}s old`);
  else say(source ? "on" : "off", source ? "live" : "static");
}

// What changes without anybody saying so (ages, loads) is fetched now and then, while somebody looks.
function startPolling() {
  const seconds = Number(document.querySelector("[data-poll]")?.dataset.poll ?? 0);
  if (seconds) setInterval(() => document.hidden || changed([]), seconds * 1000);
}

export function startLive() {
  startPolling();
  if (!document.body.dataset.topics) return;
  position = document.body.dataset.position;
  connect();
  setInterval(show, 1000);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else {
      // What happened while nobody looked is not known: fetch everything once.
      heard = Date.now();
      connect();
      changed([]);
    }
  });
}
