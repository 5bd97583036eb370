"use strict";
// The key stands behind the # of the link: browsers do not send that part to anybody.
const main = document.getElementById("main");
const text = (name, value) => { const made = document.createElement(name); made.textContent = value; return made; };
const row = (kind, ...cells) => { const made = document.createElement("tr"); made.append(...cells.map(cell => text(kind, cell))); return made; };

async function draw() {
  const answer = await fetch("/api", {headers: {Authorization: `Bearer ${location.hash.slice(1)}`}});
  const found = await answer.json();
  if (!answer.ok) { main.replaceChildren(text("p", found.error)); return; }
  const raters = found.raters, table = document.createElement("table");
  table.append(row("th", "emotion", "clip", "ratings", "wanted"),
    ...found.clips.map(clip => row("td", clip.emotion, clip.clip, clip.ratings, clip.wanted)));
  const median = found.median_seconds === null ? "" : `, ${found.median_seconds.toFixed(1)} s a clip (median)`;
  main.replaceChildren(
    text("p", `${raters.invited} invited, ${raters.consented} began, ${raters.finished} finished, ${raters.withdrawn} withdrew; ${found.pages} pages${median}`),
    table);
}
draw();
setInterval(draw, 10000);
