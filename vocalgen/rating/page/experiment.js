// The key stands behind the # of the link: browsers do not send that part to anybody.
import {button, element} from "./dom.js";

const main = document.getElementById("main"), trouble = document.getElementById("trouble");
const number = (value, digits = 2) => value === null || value === undefined ? "–" : value.toFixed(digits);

function table(id, caption, heads, rows) {
  const head = element("thead", {}, element("tr", {}, ...heads.map(text => element("th", {scope: "col"}, text))));
  const body = element("tbody", {}, ...rows.map(cells => element("tr", {}, ...cells.map(cell => element("td", {}, cell)))));
  const heading = `${id}-caption`, labelled = {"aria-labelledby": heading};
  return element("section", {}, element("h2", {id: heading}, caption),
    element("div", {class: "scroll", id, tabindex: 0, role: "region", ...labelled}, element("table", labelled, head, body)));
}

async function ask(path, body) {
  try {
    const headers = {Authorization: `Bearer ${location.hash.slice(1)}`, "Content-Type": "application/json"};
    const answer = await fetch(path, body === undefined ? {headers} : {method: "POST", headers, body: JSON.stringify(body)});
    const found = await answer.json();
    trouble.hidden = answer.ok;
    trouble.textContent = answer.ok ? "" : `${found.error}; the whole link stands in the terminal of the server.`;
    if (answer.status === 403) main.replaceChildren();
    return answer.ok ? found : null;
  } catch {
    trouble.hidden = false;
    trouble.textContent = "The server cannot be reached; trying again…";
    return null;
  }
}

async function raise(rater) {
  const reason = prompt(`Why should ${rater.name} perhaps not count? Nothing is deleted.`);
  if (reason) draw(await ask("/experiment/flag", {rater: rater.number, reason}));
}

function flags(rater) {
  const cell = element("div", {class: "flags"});
  for (const flag of rater.flags) {
    const text = element("span", {class: flag.up ? "up" : "lifted", title: `by ${flag.source}`}, flag.reason);
    cell.append(text);
    if (flag.up) cell.append(button("take back", async () => draw(await ask("/experiment/lift", {rater: rater.number, reason: flag.reason})),
      {class: "quiet", "aria-label": `Take back: ${rater.name}, ${flag.reason}`}));
  }
  cell.append(button("flag…", () => raise(rater), {class: "quiet", "aria-label": `Flag ${rater.name}`}));
  return cell;
}

// The focus, and how far each table was scrolled, stay where they were.
function redraw(...children) {
  const [id, label] = ["id", "aria-label"].map(name => document.activeElement?.getAttribute(name));
  const scrolled = new Map([...main.querySelectorAll(".scroll")].map(region => [region.id, region.scrollLeft]));
  main.replaceChildren(...children);
  for (const region of main.querySelectorAll(".scroll")) region.scrollLeft = scrolled.get(region.id) ?? 0;
  const focused = id ? `#${CSS.escape(id)}` : label ? `[aria-label="${CSS.escape(label)}"]` : null;
  if (focused) main.querySelector(focused)?.focus({preventScroll: true});
}

function draw(found) {
  if (found === null) return;
  const counts = found.counts, reliability = found.reliability ?? {krippendorff_alpha: null, alpha_by_emotion: {}, icc: {}, icc_undefined: {}};
  const intraclass = [["ICC (1, k)", "icc1k"], ["ICC (2, k)", "icc2k"]];
  const facts = [
    ["invited", counts.invited], ["began", counts.consented], ["finished", counts.finished], ["withdrew", counts.withdrawn],
    ["flagged", counts.flagged], ["ratings of clips", found.ratings], ["ratings still wanted", found.missing_ratings],
    ["raters still wanted", found.missing_raters], ["seconds a page (median)", number(found.median_seconds, 1)],
    ["Krippendorff's alpha", number(reliability.krippendorff_alpha)],
    ...intraclass.map(([name, key]) => [name, number(reliability.icc[key])]),
    ["r with themselves", number(found.with_themselves)],
  ];
  redraw(
    element("ul", {class: "facts"}, ...facts.map(([name, value]) => element("li", {}, element("b", {}, value), element("span", {}, name)))),
    ...intraclass.filter(([, key]) => reliability.icc_undefined[key]).map(([name, key]) => element("p", {}, `${name}: ${reliability.icc_undefined[key]}.`)),
    table("raters", "Raters", ["rater", "language", "pages", "seconds a page", "too fast", "missed instructions", "r with themselves", "flags"],
      found.raters.map(rater => [rater.withdrawn ? `${rater.name} (withdrew)` : rater.name, rater.language ?? "–", `${rater.saved} of ${rater.pages}`,
        number(rater.median_seconds, 1), rater.hasty, rater.missed, number(rater.with_themselves), flags(rater)])),
    table("emotions", "Emotions that clips were made for (raters who withdrew or are flagged do not count)", ["emotion", "clips", "ratings", "wanted", "complete clips"],
      found.emotions.map(entry => [entry.emotion, entry.clips, entry.ratings, entry.wanted, `${entry.complete} of ${entry.clips}`])),
    ...(found.reliability === null ? [] : [table("agreement", "Agreement on the emotions that are rated", ["emotion", "Krippendorff's alpha"],
      Object.entries(reliability.alpha_by_emotion).map(([name, value]) => [name, number(value)]))]),
    table("clips", "Clips", ["emotion", "clip", "ratings", "wanted"], found.clips.map(clip => [clip.emotion, element("span", {class: "name"}, clip.clip), clip.ratings, clip.wanted])));
}

const look = async () => draw(await ask("/experiment/numbers"));
look();
setInterval(look, 10000);
