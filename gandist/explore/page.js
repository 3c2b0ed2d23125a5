"use strict";

const $ = (id) => document.getElementById(id);
const POLL_MS = 400, SMALL_PX = 128, WIDE = 1.6, STRIP = 4, STEPS_SAID = 25;
const less = matchMedia("(prefers-reduced-motion: reduce)");
const state = { facts: null, latent: null, favourites: [], kept: 0, between: false, shown: null, target: null, paired: false, ofFile: false, follows: false, result: null };

async function ask(name, options = {}) {
  const reply = await fetch(name, options);
  if (reply.ok) return reply;
  throw new Error((await reply.json().catch(() => ({ error: reply.statusText }))).error);
}
const post = (name, facts) => ask(name, { method: "POST", body: JSON.stringify(facts) });

function fault(error) {
  $("fault").hidden = !error;
  $("fault").textContent = error ? (error instanceof TypeError ? "The command has ended, or cannot be reached." : error.message) : "";
}

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// What is asked for

const sliders = () => [...document.querySelectorAll("#directions input")];
const whole = (input) => Math.min(Number(input.max) || Infinity, Math.max(0, Math.trunc(Number(input.value) || 0)));

function recipe() {
  return {
    seed: whole($("seed")), number: whole($("number")), latent: state.latent, truncation: Number($("truncation").value),
    moves: sliders().map((slider) => Number(slider.value)),
    label: $("class").value === "" ? null : Number($("class").value), caption: $("caption").value.trim() || null,
  };
}

function wanted(exact) {
  if (!state.between) return { a: recipe(), exact };
  const [a, b] = ends();
  return { a: a.recipe, b: b.recipe, t: Number($("way").value) / 100, exact };
}

function take(found) {
  $("seed").value = found.seed;
  $("number").value = found.number;
  $("truncation").value = found.truncation;
  $("class").value = found.label ?? "";
  $("caption").value = found.caption ?? "";
  state.latent = found.latent;
  sliders().forEach((slider, k) => { slider.value = found.moves[k] ?? 0; });
  say();
}

function say() {
  for (const slider of document.querySelectorAll(".slide input")) {
    const said = slider.id === "way" ? `${slider.value} %` : slider.value;
    slider.parentElement.querySelector("output").textContent = said;
    slider.setAttribute("aria-valuetext", said);
  }
  $("projected").hidden = state.latent === null;
  $("keep").disabled = state.between;
}

// Drawing: one request at a time, of the newest wish

let next = null, drawing = false;

async function draw(exact = true) {
  next = { exact };
  if (drawing) return;
  drawing = true;
  while (next) {
    const wish = wanted(next.exact), between = state.between;
    next = null;
    try {
      const found = await (await post("draw", wish)).json();
      show(found.samples);
      state.shown = { samples: found.samples, condition: found.condition };
      $("said").textContent = [between ? `Between ${ends().map((end) => end.name).join(" and ")}` : "", found.condition].filter(Boolean).join(": ");
      fault(null);
      if (wish.exact && $("autoplay").checked) document.querySelector(".models audio")?.play();
    } catch (error) { fault(error); }
  }
  drawing = false;
}

function show(samples) {
  const cells = samples.map((sample, k) => [state.facts.models[k], sample]);
  if (state.target && state.latent) cells.push(["Your file", state.target]);
  const figures = $("models").children;
  while (figures.length > cells.length) figures[figures.length - 1].remove();
  while (figures.length < cells.length) $("models").append(made("figure", {}, made("figcaption"), made("div", { className: "cell" })));
  cells.forEach(([name, sample], k) => fill(figures[k], name, sample, cells.length === 1));
}

function fill(figure, name, sample, single) {
  const [caption, cell] = figure.children;
  caption.textContent = name;
  figure.classList.toggle("single", single);
  if (sample.lines) {
    cell.replaceChildren(made("ul", { className: "lines" }, ...sample.lines.map((line) => made("li", { textContent: line, dir: "auto" }))));
    return;
  }
  const source = $("still").checked && sample.still ? sample.still : sample.picture;
  let image = cell.querySelector("img");
  if (!image) {
    image = made("img");
    image.addEventListener("load", () => {
      image.classList.toggle("small", image.naturalWidth <= SMALL_PX);
      const wide = image.naturalWidth > WIDE * image.naturalHeight;
      image.classList.toggle("wide", wide);
      figure.classList.toggle("wide", wide);
      figure.classList.toggle("strip", image.naturalWidth > STRIP * image.naturalHeight);
    });
    cell.replaceChildren(image);
  }
  image.alt = `${state.facts.noun} by ${name}`;
  if (image.src !== source) image.src = source;
  const sounds = sample.sounds ?? [], players = [...cell.querySelectorAll("audio")];
  players.slice(sounds.length).forEach((player) => player.remove());
  sounds.forEach((sound, k) => {
    const player = players[k] ?? cell.appendChild(made("audio", { controls: true }));
    player.setAttribute("aria-label", `${state.facts.noun} by ${name}`);
    if (player.src !== sound) player.src = sound;
  });
}

// Favourites

const ends = () => [$("from"), $("to")].map((select) => state.favourites[select.selectedIndex]);

function keep() {
  if (!state.shown) return;
  state.kept += 1;
  const sample = state.shown.samples[0];
  state.favourites.push({ name: `No. ${state.kept}`, recipe: recipe(), said: state.shown.condition, sample: { ...sample, picture: sample.still ?? sample.picture } });
  list();
}

function list() {
  $("favourites").replaceChildren(...state.favourites.map((each) => {
    const thumb = each.sample.lines ? made("span", { className: "text", textContent: each.sample.lines.join(" ") }) : made("img", { src: each.sample.picture, alt: "" });
    const button = made("button", { type: "button", className: "take", title: each.said }, thumb, each.name);
    button.addEventListener("click", () => { take(each.recipe); anew(); });
    const drop = made("button", { type: "button", className: "drop-it", textContent: "×" });
    drop.setAttribute("aria-label", `Drop ${each.name}`);
    drop.addEventListener("click", () => { state.favourites = state.favourites.filter((other) => other !== each); list(); if (state.between) anew(); });
    return made("li", {}, button, drop);
  }));
  const chosen = [$("from"), $("to")].map((select) => select.value);
  for (const [which, select] of [$("from"), $("to")].entries()) {
    select.replaceChildren(...state.favourites.map((each) => made("option", { textContent: each.name, value: each.name })));
    select.value = chosen[which];
    if (select.selectedIndex < 0 || !state.paired) select.selectedIndex = Math.min(which, state.favourites.length - 1);
  }
  state.paired = state.favourites.length > 1;
  $("none-kept").hidden = state.favourites.length > 1;
  $("between").hidden = state.favourites.length < 2;
}

async function film() {
  const [a, b] = ends();
  $("film").disabled = true;
  $("said").textContent = "Drawing the film…";
  try {
    const found = await (await post("film", { a: a.recipe, b: b.recipe })).json();
    state.between = true;
    say();
    show(found.samples);
    $("said").textContent = `From ${a.name} to ${b.name}; the slider between them stops it.`;
    fault(null);
  } catch (error) { fault(error); }
  $("film").disabled = false;
}

async function save() {
  try {
    const address = URL.createObjectURL(await (await post("file", wanted(true))).blob());
    made("a", { href: address, download: `seed-${whole($("seed"))}.${state.facts.extension}` }).click();
    URL.revokeObjectURL(address);
  } catch (error) { fault(error); }
}

// Projection

let polling = 0;

async function project(file) {
  if (!file) return;
  const mine = ++polling, asked = { ...recipe(), latent: null, label: state.ofFile ? null : recipe().label };
  state.follows = true;
  state.result = null;
  $("projection").hidden = false;
  $("cancel").hidden = false;
  $("result").hidden = true;
  $("progress").value = 0;
  $("how-far").textContent = "Looking for a latent…";
  try {
    const found = await follow(mine, await (await ask(`project?recipe=${encodeURIComponent(JSON.stringify(asked))}`, { method: "POST", body: file })).json());
    if (mine !== polling) return;
    if (found.status === "failed") throw new Error(found.error);
    const loss = found.loss === undefined ? "" : ` Difference ${found.loss.toPrecision(3)}, of the best random latent ${found.random.toPrecision(3)}, by ${found.said}.`;
    $("how-far").textContent = `${found.status === "done" ? "Done." : "Cancelled."}${loss}${found.note ? ` The file is ${found.note}.` : ""}`;
    $("result").hidden = !found.recipe;
  } catch (error) {
    $("how-far").textContent = "";
    fault(error);
  }
  $("cancel").hidden = true;
}

async function follow(mine, found) {
  let said = 0;
  while (mine === polling) {
    $("progress").max = found.steps;
    $("progress").value = found.step;
    if (found.recipe) {
      state.target = found.target;
      state.result = found.recipe;
      if (state.follows) await showResult(found.status !== "running");
    }
    if (found.status !== "running") break;
    if (found.step >= said + STEPS_SAID) {
      said = found.step;
      $("how-far").textContent = `Step ${found.step} of ${found.steps}`;
    }
    await new Promise((done) => { setTimeout(done, POLL_MS); });
    found = await (await ask("projection")).json();
  }
  return found;
}

async function showResult(exact) {
  take(state.result);
  state.ofFile = state.result.label !== null;
  state.between = false;
  say();
  await draw(exact);
}

// The page

function direction(k, share) {
  const slider = made("input", { type: "range", id: `direction-${k}`, min: -4, max: 4, step: 0.1, value: 0 });
  slider.setAttribute("value", 0);
  const label = made("label", { htmlFor: slider.id, textContent: `${k + 1} (${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %)` });
  return made("div", { className: "slide" }, label, slider, made("output", { htmlFor: slider.id }));
}

// What the user does ends what is between favourites, and that a projection is followed

function anew(exact = true) {
  state.between = false;
  state.follows = false;
  say();
  draw(exact);
}

function between(exact = true) {
  state.between = true;
  state.follows = false;
  say();
  draw(exact);
}

function ofSeed() {
  state.latent = null;
  if (state.ofFile) $("class").value = "";
  state.ofFile = false;
  anew();
}

function wire() {
  for (const slider of [$("truncation"), ...sliders()]) {
    slider.addEventListener("input", () => anew(false));
    slider.addEventListener("change", () => anew());
    slider.addEventListener("dblclick", () => { slider.value = slider.defaultValue; anew(); });
  }
  for (const id of ["seed", "number"]) $(id).addEventListener("change", ofSeed);
  for (const id of ["class", "caption"]) $(id).addEventListener("change", () => { state.ofFile = false; anew(); });
  $("next").addEventListener("click", () => { $("seed").value = whole($("seed")) + 1; ofSeed(); });
  $("random").addEventListener("click", () => { $("seed").value = Math.floor(Math.random() * 1e6); ofSeed(); });
  $("back").addEventListener("click", ofSeed);
  $("reset").addEventListener("click", () => { for (const slider of sliders()) slider.value = 0; anew(); });
  $("keep").addEventListener("click", keep);
  $("save").addEventListener("click", save);
  $("still").addEventListener("change", () => { if (state.shown) show(state.shown.samples); });
  for (const event of ["input", "change"]) $("way").addEventListener(event, () => { between(event === "change"); });
  for (const id of ["from", "to"]) $(id).addEventListener("change", () => between());
  $("film").addEventListener("click", film);
  $("file").addEventListener("change", () => project($("file").files[0]));
  $("result").addEventListener("click", () => showResult(true));
  $("cancel").addEventListener("click", () => ask("cancel", { method: "POST", body: "" }).catch(fault));
  const drop = $("drop");
  document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); project(event.dataTransfer.files[0]); });
}

async function begin() {
  const facts = state.facts = await (await ask("facts")).json();
  $("title").textContent = facts.models.length > 1 ? `${facts.models.length} generators` : facts.models[0];
  document.title = `${facts.models[0]} - gandist explore`;
  $("number").max = facts.most_number;
  $("class-label").hidden = facts.classes.length === 0;
  $("class").append(...facts.classes.map((name, k) => made("option", { value: k, textContent: name })));
  $("caption-label").hidden = !facts.captions;
  $("autoplay-label").hidden = !facts.heard;
  $("still-label").hidden = !facts.plays;
  $("still").checked = less.matches;
  $("directions").append(...facts.shares.map((share, k) => direction(k, share)));
  $("about").textContent = `Principal components of the features ${facts.layer ? `at ${facts.layer}` : "of samples"}, with their share of the variance; in standard deviations of a latent of ${facts.latents.toLocaleString("en")} numbers.`;
  $("about-own").textContent = `Choose or drop a file: a latent is sought whose ${facts.noun} is like it${facts.classes.length ? ", of any class unless one is chosen" : ""}.`;
  $("file").accept = facts.extensions.map((each) => `.${each}`).join(",");
  wire();
  say();
  await draw();
}

begin().catch(fault);
