"use strict";
// One clip a page. What is entered is kept in this browser until the server has said that it is stored.
// Every word comes from the study's texts; all of it is set as text, never as markup.
const token = location.pathname.split("/")[2];
const main = document.getElementById("main");
const at = id => document.getElementById(id);
const api = (path = "") => `/api/${encodeURIComponent(token)}${path}`;
let texts = null, language = null;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}
const button = (text, onclick, attributes = {}) => element("button", {type: "button", onclick, ...attributes}, text);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));

function trouble(text) {
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}
const say = text => { at("status").textContent = text; };

// Ask until there is an answer: a lost connection or a full disk is told and tried again, nothing is lost meanwhile.
async function ask(path, body) {
  for (let wait = 1000; ; wait = Math.min(2 * wait, 15000)) {
    try {
      const options = body === undefined ? {} : {
        method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
      };
      const answer = await fetch(api(path), options);
      const value = await answer.json();
      if (answer.ok) { trouble(""); return value; }
      if (answer.status < 500 && answer.status !== 429) {
        trouble(texts === null ? value.error : texts.not_accepted);
        return null;
      }
      trouble(texts === null ? value.error : texts.not_stored);
    } catch {
      trouble(texts === null ? "…" : texts.not_reached);
    }
    await new Promise(done => setTimeout(done, wait));
  }
}

function show(...children) {
  main.replaceChildren(...children);
  main.focus({preventScroll: true});
  window.scrollTo(0, 0);
}

// The language of the consent; before that, what was picked, or what the browser asks for, or the study's first.
function wanted(state) {
  const codes = Object.keys(state.languages);
  if (state.language !== null) return state.language;
  if (language !== null) return language;
  for (const asked of navigator.languages ?? []) {
    const [long, short] = [asked.toLowerCase(), asked.toLowerCase().split("-")[0]];
    const found = codes.find(code => code.toLowerCase() === long) ?? codes.find(code => code.toLowerCase().split("-")[0] === short);
    if (found !== undefined) return found;
  }
  return codes[0];
}

async function speak(state) {
  const code = wanted(state);
  if (code === language && texts !== null) return true;
  const found = await ask(`/texts/${encodeURIComponent(code)}`);
  if (found === null) return false;
  [texts, language] = [found, code];
  document.documentElement.lang = code;
  document.documentElement.dir = texts.direction;
  document.title = texts.title;
  at("title").textContent = texts.title;
  at("withdraw").textContent = texts.withdraw;
  return true;
}

// `following`: the rater has just saved a page, so that a break may be offered.
async function draw(state, following = false) {
  if (state === null || !await speak(state)) return;
  const page = state.page;
  at("withdraw").hidden = !["pages", "done"].includes(state.stage);
  at("progress").hidden = !page;
  say("");
  if (page) {
    at("bar").value = page.place / page.pages;
    at("count").textContent = fill(texts.progress, {page: page.place + 1, pages: page.pages});
  }
  if (state.stage === "consent") consent(state);
  else if (state.stage === "done") done(state);
  else if (state.stage === "withdrawn") withdrawn(state);
  else if (page.place === 0 && sessionStorage.getItem(`volume-${token}`) === null) volume(state);
  else if (following && state.practice && page.place === state.practice) stop(state, texts.practice_over_heading, texts.practice_over);
  else if (following && rests(state)) stop(state, texts.pause_heading, fill(texts.pause, {page: page.place, pages: page.pages}));
  else rate(state);
}

function rests(state) {
  const past = state.page.place - state.practice;
  return state.block > 0 && past > 0 && past % state.block === 0;
}

function stop(state, heading, text) {
  show(element("h2", {}, heading), element("p", {}, text), button(texts.go_on, () => rate(state)));
}

function consent(state) {
  const agree = button(texts.agree, async () => {
    agree.disabled = true;
    await draw(await ask("/consent", {language}));
    agree.disabled = false;
  });
  const codes = Object.entries(state.languages), choice = [];
  if (codes.length > 1) {
    const select = element("select", {id: "language", onchange: () => { language = select.value; texts = null; draw(state); }},
      ...codes.map(([code, name]) => element("option", {value: code, lang: code, selected: code === language}, name)));
    choice.push(element("p", {class: "choice"}, element("label", {for: "language"}, texts.choose_language), select));
  }
  show(...choice, element("h2", {}, texts.consent_heading), element("p", {class: "long"}, texts.consent), agree);
}

function volume(state) {
  const sound = new Audio(api("/clips/0"));
  const next = button(texts.heard_well, () => { sessionStorage.setItem(`volume-${token}`, "set"); sound.pause(); rate(state); }, {disabled: true, class: "second"});
  sound.addEventListener("ended", () => { next.disabled = false; });
  sound.addEventListener("error", () => { trouble(texts.not_loaded); });
  const play = button(texts.play_sound, () => { trouble(""); if (sound.error) sound.load(); sound.currentTime = 0; sound.play().catch(() => {}); });
  show(element("h2", {}, texts.volume_heading), element("p", {}, texts.volume), element("div", {class: "row"}, play, next));
}

function done(state) {
  show(element("h2", {}, texts.done_heading), element("p", {}, texts.done), element("p", {}, texts.code),
    element("p", {class: "code", dir: "ltr"}, state.code));
}

function withdrawn(state) {
  const text = state.withdrawal === "removed" ? texts.withdrawn_removed : texts.withdrawn_unused;
  show(element("h2", {}, texts.withdrawn_heading), element("p", {}, text));
}

function remembered(memory) {
  try { return JSON.parse(localStorage.getItem(memory) ?? "{}"); } catch { return {}; }
}

function rate(state) {
  const page = state.page, memory = `answer-${token}-${page.place}`, began = performance.now();
  const kept = remembered(memory), values = new Map();
  let plays = kept.plays ?? 0, playing = false;
  const sound = new Audio(api(`/clips/${page.place}`));
  const remember = () => localStorage.setItem(memory, JSON.stringify({plays, values: Object.fromEntries(values)}));
  const next = button(texts.next, save, {disabled: true, "aria-describedby": "hint"});
  const hint = element("span", {class: "hint", id: "hint"});
  const play = button("", start, {class: "sound"});

  function start() {
    if (playing && plays === 0) return;
    trouble("");
    if (sound.error) sound.load();
    sound.currentTime = 0;
    playing = true;
    check();
    sound.play().catch(() => { playing = false; check(); });
  }
  sound.addEventListener("ended", () => { plays += 1; playing = false; remember(); check(); });
  sound.addEventListener("error", () => { playing = false; trouble(texts.not_loaded); check(); });

  function check() {
    const open = page.emotions.filter(name => !values.has(name)).length;
    const waits = playing && plays === 0;
    play.textContent = waits ? texts.playing : plays ? texts.play_again : texts.play;
    play.setAttribute("aria-disabled", waits);  // not `disabled`: the focus would be lost
    next.disabled = plays === 0 || open > 0;
    const told = plays === 0 ? texts.listen_first : open ? fill(texts.left, {count: open}) : texts.ready;
    if (hint.textContent !== told) { hint.textContent = told; say(plays && (open === 0 || values.size === 0) ? told : ""); }
  }
  const rows = page.emotions.map((name, index) => {
    const said = element("output", {for: `emotion-${index}`, "aria-hidden": "true"}, texts.not_answered);
    const slider = element("input", {
      type: "range", min: state.low, max: state.high, step: 1, id: `emotion-${index}`, class: "untouched",
      "aria-valuetext": texts.not_answered, "aria-describedby": "ends",
    });
    const row = element("div", {class: "emotion"}, element("label", {for: slider.id}, texts.emotions[name]), said, slider,
      element("div", {class: "ends", "aria-hidden": "true"}, element("span", {}, texts.low), element("span", {}, texts.high)));
    const set = value => {
      slider.value = value;
      slider.classList.remove("untouched");
      slider.style.setProperty("--part", `${100 * (slider.value - state.low) / (state.high - state.low)}%`);
      slider.setAttribute("aria-valuetext", `${slider.value}`);
      said.textContent = slider.value;
      values.set(name, Number(slider.value));
      remember();
      check();
    };
    slider.addEventListener("input", () => set(slider.value));
    slider.addEventListener("click", () => set(slider.value));
    slider.addEventListener("keydown", event => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === "0") { event.preventDefault(); set(state.low); }
      if (event.key === " " || event.key === "Enter") { event.preventDefault(); set(slider.value); }
    });
    if (kept.values?.[name] !== undefined) set(kept.values[name]);
    return row;
  });

  async function save() {
    next.disabled = true;
    sound.pause();
    say(texts.saving);
    const answer = {values: Object.fromEntries(values), plays, seconds: (performance.now() - began) / 1000};
    const following = await ask(`/pages/${page.place}`, answer);
    if (following === null) { check(); return; }
    localStorage.removeItem(memory);
    await draw(following, true);
  }

  const [high, low] = [texts.high, texts.low];
  const told = page.asked === null ? texts.instructions : fill(texts.asked, {emotion: texts.emotions[page.asked], high, low});
  show(...(page.kind === "practice" ? [element("p", {class: "badge"}, texts.practice)] : []),
    element("p", {id: "told"}, told), element("p", {id: "ends", class: "unseen"}, `${state.low}: ${low}. ${state.high}: ${high}.`),
    element("div", {class: "row listen"}, play), ...rows, element("div", {class: "row next"}, next, hint));
  check();
}

at("withdraw").addEventListener("click", async () => {
  if (confirm(texts.withdraw_question)) draw(await ask("/withdraw", {}));
});
ask("").then(draw);
