"use strict";

const slider = document.querySelector("#seen");
const times = (part) => [...part.querySelectorAll("[data-seen]")].map((each) => Number(each.dataset.seen));
const many = slider.dataset.many;
const steps = [...new Set(times(document))].sort((a, b) => a - b);
const words = (number) => number.toLocaleString("en");

// Runs are sampled at their own moments: each shows its newest grid up to then, or its first.
function show() {
  const seen = steps[slider.value];
  slider.setAttribute("aria-valuetext", `${words(seen)} ${many} seen`);
  slider.nextElementSibling.value = words(seen);
  for (const figure of document.querySelectorAll("figure.grid")) {
    const drawn = times(figure).sort((a, b) => a - b);
    if (!drawn.length) continue;
    const shown = drawn.findLast((time) => time <= seen) ?? drawn[0];
    for (const each of figure.querySelectorAll("[data-seen]")) each.hidden = Number(each.dataset.seen) !== shown;
    for (const sound of figure.querySelectorAll("[hidden] audio")) sound.pause();
    figure.querySelector(".at").textContent = words(shown);
  }
}

if (steps.length > 1) {
  slider.max = steps.length - 1;
  slider.value = slider.max;
  slider.parentElement.hidden = false;
  slider.addEventListener("input", show);
  show();
}

for (const example of document.querySelectorAll(".example")) {
  const share = example.querySelector("input");
  const move = () => {
    example.style.setProperty("--at", `${share.value}%`);
    share.setAttribute("aria-valuetext", `${share.value}% input, the rest output`);
  };
  share.hidden = false;
  share.addEventListener("input", move);
  move();
}

// One sound at a time
document.addEventListener("play", (event) => {
  for (const sound of document.querySelectorAll("audio")) if (sound !== event.target) sound.pause();
}, true);

for (const chart of document.querySelectorAll("figure.chart")) {
  const { x: [left, right, low, high], curves } = JSON.parse(chart.dataset.readout);
  const drawing = chart.querySelector("svg"), cursor = chart.querySelector(".cursor");
  const values = chart.querySelectorAll("output");
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const at = Math.min(right, Math.max(left, (event.clientX - box.left) / box.width * drawing.viewBox.baseVal.width));
    const x = low + (at - left) / (right - left) * (high - low);
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    cursor.setAttribute("visibility", "visible");
    curves.forEach((points, i) => {
      const [kimg, y] = points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
      values[i].value = `${y ?? "not finite"} at ${kimg}`;
    });
  });
  drawing.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    for (const value of values) value.value = "";
  });
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
