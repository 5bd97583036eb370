// The rater's page under Node.js, with as much of a browser as it touches. Reads a scenario (JSON) from stdin:
//   folder     of the page's scripts
//   path       of the link, with its query
//   storage    what localStorage holds
//   states     answers of the server, in turn, to requests that are not for texts: {status, body}
//   texts      words of the page
//   steps      what a rater does: ["play"], ["end", emotion], ["jump", milliseconds], ["press", label], ["reload"]
// and prints what was asked, what is kept and what is shown.
import {readFileSync} from "node:fs";
import {pathToFileURL} from "node:url";

const scenario = JSON.parse(readFileSync(0, "utf8"));
const asked = [], settle = () => new Promise(done => setTimeout(done, 5));
let clock = 0, loads = 0, sounds = [];

globalThis.Node = class {
  constructor(name) {
    Object.assign(this, {name, children: [], attributes: {}, listeners: {}, own: "", hidden: false, disabled: false, value: ""});
    const classes = new Set();
    this.classList = {contains: entry => classes.has(entry), remove: entry => classes.delete(entry)};
    this.style = {setProperty() {}};
  }
  append(...added) { this.children.push(...added); }
  replaceChildren(...added) { this.children = added; }
  addEventListener(kind, listener) { this.listeners[kind] = listener; }
  setAttribute(key, value) { this.attributes[key] = value; if (key === "value") this.value = value; }
  focus() {}
  querySelectorAll() { return all(this).filter(node => ["button", "input", "select"].includes(node.name)); }
  get textContent() { return this.own + this.children.map(child => child.textContent ?? child).join(""); }
  set textContent(text) { this.own = String(text); this.children = []; }
};
const all = node => [node, ...node.children.filter(child => child instanceof Node).flatMap(all)];

globalThis.Audio = class extends Node {
  constructor(address) {
    super("audio");
    Object.assign(this, {address, error: null, duration: 1, buffered: {length: 1, end: () => 1}, ended: true});
    sounds.push(this);
  }
  load() {}
  pause() {}
  async play() { this.listeners.ended(); }
};

class Kept {
  getItem(key) { return Object.hasOwn(this, key) ? this[key] : null; }
  setItem(key, value) { this[key] = value; }
  removeItem(key) { delete this[key]; }
}
for (const name of ["localStorage", "sessionStorage"]) globalThis[name] = new Kept();
Object.assign(localStorage, scenario.storage);

const [pathname, query = ""] = scenario.path.split("?");
globalThis.location = {pathname, search: query && `?${query}`};
globalThis.history = {replaceState(state, title, path) { Object.assign(location, {pathname: path, search: ""}); }};
globalThis.window = {scrollTo() {}};
Object.defineProperty(globalThis, "navigator", {value: {languages: ["en-GB"]}, configurable: true});
globalThis.fetch = async (address, {method = "GET", body} = {}) => {
  asked.push([method, address, body === undefined ? null : JSON.parse(body)]);
  const found = address.includes("/texts/") ? {status: 200, body: scenario.texts} : scenario.states.shift();
  return {ok: found.status < 300, status: found.status, json: async () => found.body};
};
performance.now = () => clock;

async function load() {
  const parts = {};
  sounds = [];
  globalThis.document = {
    documentElement: new Node("html"),
    createElement: name => new Node(name),
    getElementById: id => parts[id] ??= new Node(id),
  };
  sessionStorage.setItem(`volume-${location.pathname.split("/")[2]}`, "true");
  await import(`${pathToFileURL(scenario.folder)}/rate.js?${loads++}`);
  await settle();
}

const shown = () => document.getElementById("main");
const find = wanted => all(shown()).find(node => node.name === "button" && wanted(node));
const labels = node => [node.textContent, node.attributes["aria-label"]];

const steps = {
  play: () => sounds.at(-1).play && find(node => node.attributes.class === "sound").listeners.click(),
  end: emotion => find(node => labels(node).includes(`${emotion}: ${scenario.texts.high}`)).listeners.click(),
  press: label => find(node => node.textContent === label).listeners.click(),
  jump: milliseconds => { clock += milliseconds; },
  reload: load,
};

await load();
for (const [step, ...values] of scenario.steps) { await steps[step](...values); await settle(); }
const links = all(shown()).filter(node => node.name === "a").map(node => node.attributes.href);
console.log(JSON.stringify({
  asked, links, kept: {...localStorage}, path: location.pathname, shown: shown().textContent,
  trouble: document.getElementById("trouble").textContent,
}));
process.exit(0);
