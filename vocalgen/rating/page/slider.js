// A slider that stands nowhere until a pointer or a key says where; keys begin at its low end.
import {button, element} from "./dom.js";

const MOVES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"];
const THUMB = 28;  // CSS pixels, as in rate.css

// The row of an emotion, and `set(value)`; `changed(value)` is called with every new value.
export function slider(id, called, scale, texts, changed) {
  const {low, high} = scale;
  const said = element("output", {for: id, "aria-hidden": "true"}, texts.not_answered);
  const input = element("input", {
    type: "range", min: low, max: high, step: 1, value: low, id, class: "untouched",
    "aria-valuetext": texts.not_answered, "aria-describedby": "ends",
  });
  const end = (text, value) => button(text, () => set(value), {class: "end", tabindex: -1, "aria-label": `${called}: ${text}`, "aria-pressed": "false"});
  const ends = new Map([[low, end(texts.low, low)], [high, end(texts.high, high)]]);
  const untouched = () => input.classList.contains("untouched");

  function set(value) {
    input.value = value;
    input.classList.remove("untouched");
    input.style.setProperty("--part", `${100 * (input.value - low) / (high - low)}%`);
    input.setAttribute("aria-valuetext", input.value);
    said.textContent = input.value;
    for (const [place, made] of ends) made.setAttribute("aria-pressed", String(place === Number(input.value)));
    changed(Number(input.value));
  }

  input.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "0") set(low);
    if (["0", " "].includes(event.key)) event.preventDefault();  // a space would scroll
    else if (untouched() && MOVES.includes(event.key)) set(low);  // from where the browser moves it
  });

  // Browsers differ in what a tap beside the thumb does, and none tells of one where the value is already.
  let pressed = false, moved = false;
  input.addEventListener("input", () => { moved = true; set(input.value); });
  input.addEventListener("pointerdown", event => { pressed = event.button === 0 && !input.disabled; moved = false; });
  input.addEventListener("pointercancel", () => { pressed = false; });
  input.addEventListener("pointerup", event => {
    const track = input.clientWidth - THUMB, from = event.clientX - input.getBoundingClientRect().left - THUMB / 2;
    const part = Math.min(Math.max(from / track, 0), 1);
    const value = Math.round(low + (high - low) * (getComputedStyle(input).direction === "rtl" ? 1 - part : part));
    const beside = Math.abs(value - input.value) / (high - low) * track > THUMB / 2;
    if (pressed && !moved && (untouched() || beside)) set(value);
    pressed = false;
  });

  const row = element("div", {class: "emotion"},
    element("div", {class: "head"}, element("label", {for: id}, called), said),
    element("div", {class: "track"}, ends.get(low), input, ends.get(high)));
  return {row, set};
}
