
// What plays is stopped and started by its button; it begins stopped for those who prefer less motion.
for (const playing of document.querySelectorAll(".playing")) {
  const [image, still, button] = playing.querySelectorAll("img, canvas, button"), less = matchMedia("(prefers-reduced-motion: reduce)");
  const play = (plays) => {
    image.hidden = !plays;
    still.hidden = plays;
    button.textContent = plays ? "Stop" : "Play";
    button.setAttribute("aria-label", `${button.textContent}: ${playing.dataset.name}`);
  };
  image.decode().then(() => {
    [still.width, still.height] = [image.naturalWidth, image.naturalHeight];
    still.getContext("2d").drawImage(image, 0, 0);
    play(!less.matches);
    playing.classList.add("ready");
    button.hidden = false;
    button.addEventListener("click", () => play(image.hidden));
    less.addEventListener("change", () => play(!less.matches));
  });
}
