"use strict";

// Without this script both pictures are shown, one below the other.
for (const figure of document.querySelectorAll(".comparison")) {
  const pair = figure.querySelector(".pair"), between = figure.querySelector(".between");
  const slider = between.querySelector("input");
  const show = () => {
    pair.style.setProperty("--at", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value}% before`);
  };
  slider.addEventListener("input", show);
  show();
  pair.classList.add("compared");
  between.hidden = false;
}
