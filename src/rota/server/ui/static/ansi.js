// Terminal output as text and colour classes. Colours and weights (SGR) are kept; every other escape sequence is
// dropped, control characters are shown as symbols, and characters that reorder text are made visible.
// Nothing here makes HTML: callers build text nodes.

const MOST_SEGMENTS = 2000;
const ESCAPES = /\x1b(?:\[([0-?]*)[ -/]*([@-~])|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)|[ -/]*[0-~]|$)|\x9b([0-?]*)[ -/]*([@-~])/g;
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;
const REORDERING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const WEIGHTS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const ENDS = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };

function visible(text) {
  return text
    .replace(CONTROLS, (one) => {
      const code = one.charCodeAt(0);
      return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "␡" : "·";
    })
    .replace(REORDERING, (one) => `⟪U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟫`);
}

function extended(codes, at) {
  // 38;5;N and 38;2;R;G;B: the sixteen named colours are kept, finer ones are taken as plain.
  if (codes[at + 1] === 5) return [codes[at + 2] < 16 ? codes[at + 2] : null, 2];
  if (codes[at + 1] === 2) return [null, 4];
  return [null, 0];
}

function apply(style, parameters) {
  const codes = parameters === "" ? [0] : parameters.split(/[;:]/).slice(0, 64).map((code) => Number(code) || 0);
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 0) Object.assign(style, { front: null, back: null, weights: new Set() });
    else if (WEIGHTS[code]) style.weights.add(WEIGHTS[code]);
    else if (ENDS[code]) ENDS[code].forEach((weight) => style.weights.delete(weight));
    else if (code >= 30 && code <= 37) style.front = code - 30;
    else if (code >= 90 && code <= 97) style.front = code - 82;
    else if (code >= 40 && code <= 47) style.back = code - 40;
    else if (code >= 100 && code <= 107) style.back = code - 92;
    else if (code === 39) style.front = null;
    else if (code === 49) style.back = null;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes, at);
      style[code === 38 ? "front" : "back"] = colour;
      at += used;
    }
  }
}

function classes(style) {
  const names = [...style.weights].map((weight) => `a-${weight}`);
  if (style.front !== null) names.push(`f${style.front}`);
  if (style.back !== null) names.push(`b${style.back}`);
  return names.join(" ");
}

/** The pieces `{text, classes}` of one line. What a carriage return overwrote is left out. */
export function pieces(line) {
  const frames = line.split("\r").filter((frame) => frame !== "");
  const text = frames.length ? frames[frames.length - 1] : "";
  const style = { front: null, back: null, weights: new Set() };
  const found = [];
  let from = 0;
  const push = (raw) => {
    if (raw !== "") found.push({ text: visible(raw), classes: classes(style) });
  };
  for (const match of text.matchAll(ESCAPES)) {
    if (found.length >= MOST_SEGMENTS) break;
    push(text.slice(from, match.index));
    from = match.index + match[0].length;
    if ((match[2] ?? match[4]) === "m") apply(style, match[1] ?? match[3] ?? "");
  }
  push(text.slice(from).replace(found.length >= MOST_SEGMENTS ? ESCAPES : /$^/g, ""));
  return found;
}
