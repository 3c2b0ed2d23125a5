"use strict";

const linked = [...document.querySelectorAll("[data-trial]")];
const pointed = document.querySelector("#pointed");

function point(trial) {
  for (const each of linked) each.classList.toggle("pointed", trial !== undefined && each.dataset.trial === trial);
  pointed.value = trial ?? "none";
}

for (const each of linked) {
  each.addEventListener("pointerenter", () => point(each.dataset.trial));
  each.addEventListener("pointerleave", () => point());
}

const table = document.querySelector("#table");
const body = table.tBodies[0];
table.querySelectorAll("thead button").forEach((button, column) => {
  button.addEventListener("click", () => {
    const heading = button.parentElement, rising = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = (row) => row.cells[column].textContent.trim();
    const compare = (a, b) => {
      const [x, y] = [parseFloat(key(a)), parseFloat(key(b))];
      if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1; // what has no number comes last
      const order = Number.isNaN(x) ? key(a).localeCompare(key(b)) : x - y;
      return rising ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
});
