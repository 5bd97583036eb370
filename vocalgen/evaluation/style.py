"""Looks and behaviour of report.html."""

CSS = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #ffffff; --ink: #1f2430; --soft: #666d79; --line: #dfe2e7;
  --head: #f1f3f6; --accent: #2f6f9f; --bold: #eef4f9; --warn: #fff6df; --warn-line: #d9a520; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --card: #1b1f26; --ink: #e6e8ec; --soft: #9aa2af;
  --line: #333a45; --head: #232830; --accent: #7db8e3; --bold: #202c38; --warn: #32290f; --warn-line: #a8821f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem;
  overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; overflow-wrap: anywhere; }
p, ul { margin: .5rem 0; } .note { color: var(--soft); font-size: .875rem; }
nav { display: flex; flex-wrap: wrap; gap: .35rem 1rem; font-size: .9rem; } a { color: var(--accent); }
.warnings { background: var(--warn); border-left: 4px solid var(--warn-line); padding: .5rem 1rem; margin: 1rem 0;
  max-height: 22rem; overflow: auto; overflow-wrap: anywhere; }
.warnings h2 { margin: 0; border: 0; padding: 0; font-size: 1rem; } .warnings ul { padding-left: 1.2rem; }
.conditions { font-size: .875rem; overflow-wrap: anywhere; } .conditions ul { padding-left: 1.2rem; margin: .1rem 0; }
.conditions > ul { list-style: none; padding: 0; } .key { color: var(--soft); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; background: var(--card);
  margin: .5rem 0; }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; font-variant-numeric: tabular-nums;
  width: 100%; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap;
  background: var(--card); }
tbody:last-child tr:last-child > * { border-bottom: 0; }
thead th { background: var(--head); font-weight: 600; vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; z-index: 1; font-weight: 500; white-space: normal;
  min-width: 8rem; max-width: 15rem; overflow-wrap: anywhere; border-right: 1px solid var(--line); }
tr.bold > * { background: var(--bold); font-weight: 700; } tr.faint > * { color: var(--soft); }
td.words, th.words, table.published th, table.published td { text-align: left; white-space: normal; min-width: 6rem; }
td small { display: block; color: var(--soft); font-weight: 400; font-size: .75rem; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: inherit; }
th button::after { content: ""; } th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
.legend { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: .15rem 1.5rem;
  font-size: .8125rem; color: var(--soft); margin: .5rem 0; } .legend b { color: var(--ink); }
details { margin: .75rem 0; } summary { cursor: pointer; color: var(--accent); overflow-wrap: anywhere; }
figure { margin: 1rem 0; } figcaption { font-size: .875rem; color: var(--soft); overflow-wrap: anywhere; }
.picture { overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: .25rem; }
.picture img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.clips { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); gap: .5rem 1rem; }
.clips h4 { font-size: .8125rem; font-weight: 500; color: var(--soft); margin: 0; overflow-wrap: anywhere; }
audio { display: block; width: 100%; height: 2.25rem; margin: .25rem 0; }
@media (max-width: 40rem) { main { padding: .5rem .75rem 3rem; } th, td { padding: .3rem .45rem; }
  th:first-child { min-width: 6.5rem; max-width: 8.5rem; }
  .picture img { max-width: none; width: 100%; min-width: 34rem; } }
@media print { .scroll, .picture, .warnings { overflow: visible; max-height: none; } }
"""
"""Style sheet: light and dark, tables that scroll by themselves, a first column that stays."""

SCRIPT = """
document.querySelectorAll("table.sorts thead th").forEach(function (head, column) {
  var button = document.createElement("button"), table = head.closest("table");
  column = Array.prototype.indexOf.call(head.parentNode.children, head);
  while (head.firstChild) button.appendChild(head.firstChild);
  button.type = "button";
  head.appendChild(button);
  button.addEventListener("click", function () {
    var down = head.getAttribute("aria-sort") === "ascending", sign = down ? -1 : 1;
    table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.querySelectorAll("tbody").forEach(function (body) {
      var value = function (row) { return row.children[column].getAttribute("data-value"); };
      Array.prototype.slice.call(body.rows).sort(function (a, b) {
        var x = value(a), y = value(b);
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});
"""
"""Sorting by the heads of tables, systems and anchors apart; the page reads well without it."""
