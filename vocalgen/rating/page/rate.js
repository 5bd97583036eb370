// One clip a page. What is entered is kept in this browser until the server has said that it is stored.
import {bounded} from "./answer.js";
import {button, element} from "./dom.js";
import {Memory} from "./memory.js";
import {slider} from "./slider.js";
import {sound} from "./sound.js";

const TIMEOUT = 20000;  // milliseconds for an answer of the server
let token = location.pathname.split("/")[2];
const main = document.getElementById("main");
const at = id => document.getElementById(id);
const api = (path = "") => `/api/${encodeURIComponent(token)}${path}`;
const answers = new Memory(() => localStorage), session = new Memory(() => sessionStorage);
let texts = null, language = null;
let screen = {sound: null};  // what is shown

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));

function trouble(text) {
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}
const say = text => { at("status").textContent = text; };

// Ask until there is an answer: what hangs, a lost connection or a full disk is told and tried again, nothing is lost
// meanwhile. Null: it is refused, or another screen is shown by now.
async function ask(path, body, address = api(path)) {
  const from = screen;
  for (let wait = 1000; ; wait = Math.min(2 * wait, 15000)) {
    const limit = new AbortController(), timer = setTimeout(() => limit.abort(), TIMEOUT);
    try {
      const options = body === undefined ? {} : {
        method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
      };
      const answer = await fetch(address, {...options, signal: limit.signal});
      const value = await answer.json();
      if (screen !== from) return null;
      if (answer.ok) { trouble(""); return value; }
      const refused = answer.status < 500 && answer.status !== 429;
      if (refused && texts === null) { stranger(value.error); return null; }
      trouble(texts === null ? "…" : refused ? texts.not_accepted : texts.not_stored);
      if (refused) return null;
    } catch {
      if (screen !== from) return null;
      trouble(texts === null ? "…" : texts.not_reached);
    } finally {
      clearTimeout(timer);
    }
    await new Promise(done => setTimeout(done, wait));
    if (screen !== from) return null;
  }
}

// Nobody the study knows: there are no texts to say it in.
function stranger(reason) {
  document.title = at("title").textContent = "Listening study";
  show([element("p", {}, reason)]);
}

// Send something and draw what comes next. If it is refused, perhaps another window was quicker: draw where the rater stands.
async function send(path, body) {
  const from = screen, following = await ask(path, body);
  if (following !== null) { await draw(following, true); return; }
  if (screen !== from) return;
  const state = await ask("");
  if (screen !== from) return;
  await draw(state);
  trouble(texts.not_accepted);
}

// Another screen: the sound of the one before is over, and what was asked there is not waited for.
function show(children, sound = null) {
  screen.sound?.stop();
  screen = {sound};
  trouble("");
  main.replaceChildren(...children);
  main.focus({preventScroll: true});
  window.scrollTo(0, 0);
}

// Nothing can be entered until another screen is shown.
function lock(pressed) {
  screen.sound?.stop();
  for (const control of main.querySelectorAll("button, input, select")) control.disabled = true;
  pressed.textContent = texts.saving;
  say(texts.saving);
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
  answers.forget(`answer-${token}-`, page && `answer-${token}-${page.place}`);
  if (!page) session.forget(`volume-${token}`);
  if (page) {
    at("bar").value = page.place / page.pages;
    at("count").textContent = fill(texts.progress, {page: page.place + 1, pages: page.pages});
  }
  if (state.stage === "consent") consent(state);
  else if (state.stage === "done") done(state);
  else if (state.stage === "withdrawn") withdrawn(state);
  else if (session.recall(`volume-${token}`) === null) volume(state);
  else if (following && state.practice && page.place === state.practice) stop(state, texts.practice_over_heading, texts.practice_over);
  else if (following && rests(state)) stop(state, texts.pause_heading, fill(texts.pause, {page: page.place, pages: page.pages}));
  else rate(state);
}

function rests(state) {
  const past = state.page.place - state.practice;
  return state.block > 0 && past > 0 && past % state.block === 0;
}

function stop(state, heading, text) {
  show([element("h2", {}, heading), element("p", {}, text), button(texts.go_on, () => rate(state))]);
}

function consent(state) {
  const agree = button(texts.agree, () => { lock(agree); send("/consent", {language}); });
  const codes = Object.entries(state.languages), choice = [];
  if (codes.length > 1) {
    const select = element("select", {id: "language", onchange: () => { language = select.value; texts = null; draw(state); }},
      ...codes.map(([code, name]) => element("option", {value: code, lang: code, selected: code === language}, name)));
    choice.push(element("p", {class: "choice"}, element("label", {for: "language"}, texts.choose_language), select));
  }
  show([...choice, element("h2", {}, texts.consent_heading), element("p", {class: "long"}, texts.consent), agree]);
}

const failed = loaded => trouble(loaded ? texts.interrupted : texts.not_loaded);

// The label of a button that plays; `aria-disabled`, for a button that is `disabled` loses the focus.
function label(play, heard, text) {
  const waits = heard.playing && heard.plays === 0;
  play.textContent = waits ? texts.playing : text;
  play.setAttribute("aria-disabled", waits);
}

function volume(state) {
  const heard = sound(api("/volume"), check, failed);
  const play = button("", () => { trouble(""); heard.start(); }, {class: "sound"});
  const next = button(texts.heard_well, () => { session.keep(`volume-${token}`, true); rate(state); });
  function check() {
    label(play, heard, texts.play_sound);
    next.disabled = heard.plays === 0;
  }
  check();
  show([element("h2", {}, texts.volume_heading), element("p", {}, texts.volume), element("div", {class: "row"}, play, next)], heard);
}

function done(state) {
  show([element("h2", {}, texts.done_heading), element("p", {}, texts.done), element("p", {}, texts.code),
    element("p", {class: "code", dir: "ltr"}, state.code),
    ...(state.completion ? [element("p", {}, element("a", {href: state.completion, rel: "noreferrer"}, texts.completion))] : [])]);
}

function withdrawn(state) {
  const text = state.withdrawal === "removed" ? texts.withdrawn_removed : texts.withdrawn_unused;
  show([element("h2", {}, texts.withdrawn_heading), element("p", {}, text)]);
}

function rate(state) {
  const page = state.page, name = `answer-${token}-${page.place}`, began = performance.now();
  const fit = found => bounded(found, page.emotions, state);
  const kept = fit(answers.recall(name)), values = new Map();
  const heard = sound(api(`/clips/${page.place}`), check, failed);
  heard.plays = kept.plays;
  const spent = () => Math.max(performance.now() - began, 0) / 1000;
  const entered = () => fit({values: Object.fromEntries(values), plays: heard.plays, seconds: kept.seconds + spent()});
  const play = button("", () => { trouble(""); heard.start(); }, {class: "sound"});
  const next = button(texts.next, save, {"aria-describedby": "hint"});
  const hint = element("span", {class: "hint", id: "hint"});
  const rows = page.emotions.map((emotion, index) => {
    const {row, set} = slider(`emotion-${index}`, texts.emotions[emotion], state, texts, value => { values.set(emotion, value); check(); });
    if (emotion in kept.values) set(kept.values[emotion]);
    return row;
  });

  function check() {
    const open = page.emotions.length - values.size;
    if (heard.plays || values.size) answers.keep(name, entered());
    label(play, heard, heard.plays ? texts.play_again : texts.play);
    next.disabled = heard.plays === 0 || open > 0;
    const told = heard.plays === 0 ? texts.listen_first : open ? fill(texts.left, {count: open}) : texts.ready;
    if (hint.textContent !== told) { hint.textContent = told; say(heard.plays && (open === 0 || values.size === 0) ? told : ""); }
  }

  function save() {
    lock(next);
    send(`/pages/${page.place}`, entered());
  }

  const [high, low] = [texts.high, texts.low];
  const told = page.asked === null ? texts.instructions : fill(texts.asked, {emotion: texts.emotions[page.asked], high, low});
  check();
  show([...(page.kind === "practice" ? [element("p", {class: "badge"}, texts.practice)] : []),
    element("p", {id: "told"}, told), element("p", {class: "keys"}, fill(texts.keys, {low})),
    element("p", {id: "ends", class: "unseen"}, `${state.low}: ${low}. ${state.high}: ${high}.`),
    element("div", {class: "row listen"}, play), ...rows, element("div", {class: "row next"}, next, hint)], heard);
}

at("withdraw").addEventListener("click", () => {
  if (!confirm(texts.withdraw_question)) return;
  show([element("p", {}, texts.saving)]);
  send("/withdraw", {});
});

// Participants of a crowd platform come by one link for all; from then on they are raters with a link of their own.
async function enter() {
  const found = await ask("", {}, `/join${location.search}`);
  if (found === null) return false;
  token = found.token;
  history.replaceState(null, "", `/r/${encodeURIComponent(token)}`);
  return true;
}

async function start() {
  if (location.pathname.split("/")[1] !== "join" || await enter()) await draw(await ask(""));
}
start();
