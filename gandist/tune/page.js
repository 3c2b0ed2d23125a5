"use strict";

const linked = [...document.querySelectorAll("[data-trial]")];
const rows = new Map([...document.querySelectorAll("tr[data-trial]")].map((row) => [row.dataset.trial, row]));
const pointed = document.querySelector("#pointed"), told = document.querySelector("#told");
let kept; // the trial that stays pointed at

function point(trial = kept) {
  document.body.classList.toggle("pointing", trial !== undefined);
  for (const each of linked) each.classList.toggle("pointed", each.dataset.trial === trial);
  pointed.value = trial ?? "none";
  told.textContent = rows.get(trial)?.dataset.told ?? "";
}

function keep(trial) {
  kept = kept === trial ? undefined : trial;
  for (const [name, row] of rows) row.querySelector("button").setAttribute("aria-pressed", name === kept);
  point();
}

for (const [trial, row] of rows) {
  const button = row.querySelector("button");
  row.addEventListener("pointerenter", () => point(trial));
  row.addEventListener("pointerleave", () => point());
  button.addEventListener("focus", () => point(trial));
  button.addEventListener("blur", () => point());
  button.addEventListener("click", () => keep(trial));
}

// The corners of a path, by its stretches; shapes start with M and go on with L, what else they have is small.
const stretches = (d) => d.split("M").slice(1).map((part) =>
  [...part.matchAll(/(?:^|L)(-?[\d.]+) (-?[\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]));

function distance([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay], length = dx * dx + dy * dy;
  const t = length ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

const NEAR = 14; // units of a drawing: lines are thin, and many

for (const drawing of document.querySelectorAll(".plot svg")) {
  const shapes = [...drawing.querySelectorAll("[data-trial]")]
    .map((path) => [path.dataset.trial, stretches(path.getAttribute("d"))]);
  const nearest = (event) => {
    const box = drawing.getBoundingClientRect(), scale = drawing.viewBox.baseVal.width / box.width;
    const at = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let found, least = NEAR;
    for (const [trial, parts] of shapes) {
      for (const part of parts) {
        for (let i = 0; i < part.length; i++) {
          const away = distance(at, part[Math.max(0, i - 1)], part[i]);
          if (away < least) [found, least] = [trial, away];
        }
      }
    }
    return found;
  };
  drawing.addEventListener("pointermove", (event) => point(nearest(event)));
  drawing.addEventListener("pointerleave", () => point());
  drawing.addEventListener("click", (event) => {
    const trial = nearest(event);
    if (trial !== undefined) keep(trial);
  });
}

const table = document.querySelector("#table");
const body = table.tBodies[0];
table.querySelectorAll("thead button").forEach((button, column) => {
  button.addEventListener("click", () => {
    const heading = button.parentElement, rising = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = ({ cells: { [column]: cell } }) => cell.dataset.by ?? cell.textContent;
    const numeric = [...body.rows].map(key).every((text) => !Number.isNaN(Number(text))); // nothing counts as 0
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (!x || !y) return !x - !y; // what has no value comes last
      const order = numeric ? x - y : x.localeCompare(y);
      return rising ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
});
