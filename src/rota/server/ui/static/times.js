// Times that stay true while the page is open: "in 58m", "3m ago", the clock, a running run's age.

const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
let ahead = 0; // milliseconds the server's clock is ahead of ours

export const now = () => Date.now() + ahead;

export function rough(seconds) {
  let rest = Math.floor(seconds);
  const words = [];
  for (const [unit, size] of UNITS) {
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    if (whole) words.push(`${whole}${unit}`);
    else if (words.length) break;
  }
  return words.slice(0, 2).join(" ") || "0s";
}

function relative(instant) {
  const seconds = (instant - now()) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `in ${rough(seconds)}` : `${rough(-seconds)} ago`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function tick() {
  for (const element of document.querySelectorAll("time[data-relative]")) {
    setText(element, relative(Date.parse(element.dateTime)));
  }
  for (const element of document.querySelectorAll("time[data-elapsed]")) {
    setText(element, rough(Math.max(0, (now() - Date.parse(element.dateTime)) / 1000)));
  }
  const clock = document.getElementById("clock");
  if (clock) setText(clock, clockText(document.body.dataset.zone));
}

function clockText(zone) {
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone };
  return new Intl.DateTimeFormat("en-GB", options).format(new Date(now()));
}

export function startClock() {
  const clock = document.getElementById("clock");
  if (clock) {
    const difference = Date.parse(clock.getAttribute("datetime")) - Date.now();
    ahead = Math.abs(difference) > 5000 ? difference : 0;
  }
  tick();
  setInterval(() => document.hidden || tick(), 1000);
}
