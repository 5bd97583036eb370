"use strict";
// One clip a page. What is entered is kept in this browser until the server has said that it is stored.
const token = location.pathname.split("/")[2];
const main = document.getElementById("main");
const api = (path = "") => `/api/${encodeURIComponent(token)}${path}`;

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

function trouble(text) {
  const place = document.getElementById("trouble");
  place.textContent = text;
  place.hidden = !text;
}

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
      if (answer.status < 500 && answer.status !== 429) { trouble(value.error); return null; }
      trouble(`${value.error}. Your answer is kept; trying again…`);
    } catch {
      trouble("The study cannot be reached. Your answer is kept on this device; trying again…");
    }
    await new Promise(done => setTimeout(done, wait));
  }
}

function show(...children) {
  main.replaceChildren(...children);
  main.focus({preventScroll: true});
  window.scrollTo(0, 0);
}

function draw(state) {
  if (state === null) { if (main.childElementCount < 2) show(element("p", {}, "This page cannot be shown.")); return; }
  document.title = state.title;
  document.getElementById("title").textContent = state.title;
  document.getElementById("withdraw").hidden = !["pages", "done"].includes(state.stage);
  const page = state.page;
  document.getElementById("progress").hidden = !page;
  if (state.stage === "consent") consent(state);
  else if (state.stage === "withdrawn") show(element("h2", {}, "You have withdrawn"), element("p", {}, "Your answers will not be used. Thank you."));
  else if (state.stage === "done") done(state);
  else {
    document.getElementById("bar").value = page.place / page.pages;
    document.getElementById("count").textContent = `${page.place + 1} of ${page.pages}`;
    if (page.place === 0 && sessionStorage.getItem(`volume-${token}`) === null) volume(state);
    else rate(state);
  }
}

function consent(state) {
  const agree = element("button", {onclick: async () => { agree.disabled = true; draw(await ask("/consent", {})); agree.disabled = false; }}, "I agree, begin");
  show(element("h2", {}, "Before you begin"), element("p", {}, state.consent), agree);
}

function volume(state) {
  const sound = new Audio(api("/clips/0"));
  const next = element("button", {disabled: true, onclick: () => { sessionStorage.setItem(`volume-${token}`, "set"); sound.pause(); rate(state); }}, "I hear it well");
  sound.addEventListener("ended", () => { next.disabled = false; });
  const play = element("button", {onclick: () => { sound.currentTime = 0; sound.play(); }}, "Play a sound");
  show(element("h2", {}, "Set your volume"), element("p", {}, "Use headphones if you can, in a quiet place. Play the sound and set a comfortable volume; then leave it."),
    element("div", {class: "next"}, play, next));
}

function done(state) {
  show(element("h2", {}, "Thank you!"), element("p", {}, "You have heard everything. Your completion code:"), element("p", {class: "code"}, state.code));
}

function rate(state) {
  const page = state.page, memory = `answer-${token}-${page.place}`, began = performance.now();
  const kept = JSON.parse(localStorage.getItem(memory) ?? "{}");
  let plays = kept.plays ?? 0;
  const values = new Map(Object.entries(kept.values ?? {}));
  const sound = new Audio(api(`/clips/${page.place}`));
  const remember = () => localStorage.setItem(memory, JSON.stringify({plays, values: Object.fromEntries(values)}));
  const next = element("button", {disabled: true, onclick: save}, "Next");
  const hint = element("span", {class: "hint", role: "status"});
  const play = element("button", {onclick: () => { sound.currentTime = 0; sound.play(); play.disabled = plays === 0; }}, "▶ Play");
  const heard = element("span", {}, "");
  sound.addEventListener("ended", () => { plays += 1; play.disabled = false; remember(); check(); });
  sound.addEventListener("error", () => { play.disabled = false; trouble("The sound could not be loaded; press Play again."); sound.load(); });

  function check() {
    const open = page.emotions.filter(name => !values.has(name)).length;
    play.textContent = plays ? "↺ Play again" : "▶ Play";
    heard.textContent = plays ? "" : "Listen to the end first.";
    hint.textContent = plays === 0 ? "" : open ? `${open} left to answer` : "";
    next.disabled = plays === 0 || open > 0;
  }

  const rows = page.emotions.map((name, index) => {
    const said = element("output", {}, "not answered");
    const slider = element("input", {type: "range", min: state.low, max: state.high, step: 1, id: `emotion-${index}`, class: "untouched"});
    const set = value => {
      slider.value = value;
      slider.classList.remove("untouched");
      slider.setAttribute("aria-valuetext", `${value}`);
      said.textContent = value;
      values.set(name, Number(value));
      remember();
      check();
    };
    slider.setAttribute("aria-valuetext", "not answered");
    slider.addEventListener("input", () => set(slider.value));
    slider.addEventListener("click", () => set(slider.value));
    slider.addEventListener("keydown", event => {
      if (event.key === "0") { event.preventDefault(); set(state.low); }
      if (event.key === " " || event.key === "Enter") { event.preventDefault(); set(slider.value); }
    });
    if (values.has(name)) queueMicrotask(() => set(values.get(name)));
    return element("div", {class: "emotion"}, element("label", {for: slider.id}, name, said), slider,
      element("div", {class: "ends", "aria-hidden": "true"}, element("span", {}, "not at all"), element("span", {}, "extremely")));
  });

  async function save() {
    next.disabled = true;
    sound.pause();
    const answer = {values: Object.fromEntries(values), plays, seconds: (performance.now() - began) / 1000};
    const following = await ask(`/pages/${page.place}`, answer);
    if (following === null) { check(); return; }
    localStorage.removeItem(memory);
    draw(following);
  }

  show(...(page.kind === "practice" ? [element("span", {class: "badge"}, "Practice: does not count")] : []),
    element("p", {}, state.instructions), element("div", {class: "play"}, play, heard), ...rows, element("div", {class: "next"}, next, hint));
  check();
}

document.getElementById("withdraw").addEventListener("click", async () => {
  if (confirm("Withdraw? Your answers will not be used.")) draw(await ask("/withdraw", {}));
});
ask("").then(draw);
