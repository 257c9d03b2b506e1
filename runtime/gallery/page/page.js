"use strict";
// Each picture is sent by itself, one after another, and shown when its answer comes. All text is set as text.
const MOST = 50;
const find = (name) => document.getElementById(name);
const results = find("results");
let model = { largest: 0 };
let waiting = [];
let busy = false;

async function begin() {
  try {
    model = await (await fetch("/model.json")).json();
  } catch {
    find("model").textContent = "The program does not answer; start it again: alexnet gallery";
    return;
  }
  const near = model.neighbours ? `${model.neighbours.toLocaleString("en")} pictures to be neighbours` : "no pictures to be neighbours";
  const seen = model.crops > 1 ? `${model.crops} crops` : "the centre crop";
  find("model").textContent = `${model.name}: ${model.classes.toLocaleString("en")} classes, ${seen} of ${model.crop || "?"} from ${model.side} pixels; ${near}.`;
  find("limits").textContent = `JPEG, PNG, WebP, BMP or TIFF, ${model.largest / 1e6} MB each, ${MOST} at once`;
  find("provenance").textContent = `Run by ${model.runs}; exported by alexnet ${model.toolchain}; checkpoint ${model.checkpoint}`;
}

function make(name, text, kind) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function image(source, words) {
  const element = make("img");
  element.src = source;
  element.alt = words;
  return element;
}

function newCard(name) {
  const card = find("card").content.firstElementChild.cloneNode(true);
  card.querySelector("h2").textContent = name;
  const remove = card.querySelector(".remove");
  remove.setAttribute("aria-label", `Remove ${name}`);
  remove.addEventListener("click", () => {
    card.remove();
    results.focus();
  });
  results.prepend(card);
  while (results.children.length > MOST) results.lastElementChild.remove();
  return card;
}

function fail(name, words) {
  const card = newCard(name);
  card.querySelector(".body").remove();
  const error = card.querySelector(".error");
  error.textContent = words.charAt(0).toUpperCase() + words.slice(1);
  error.hidden = false;
}

function show(name, answer) {
  const card = newCard(name);
  card.classList.toggle("small", model.side < 100);
  const seen = card.querySelector(".seen img");
  seen.src = answer.picture;
  seen.alt = `${name} as the network sees it`;
  for (const { label, probability } of answer.answers) {
    const bar = make("span", undefined, "bar");
    bar.style.width = `${probability * 100}%`;
    const line = make("li");
    line.append(bar, make("span", label, "label"), make("span", `${(probability * 100).toFixed(2)} %`, "value"));
    card.querySelector(".bars").append(line);
  }
  for (const crop of answer.crops) {
    const line = make("li");
    line.append(image(crop.picture, `crop: ${crop.name}`));
    line.title = crop.name;
    card.querySelector(".crops").append(line);
  }
  if (!answer.crops.length) card.querySelector(".views").remove();
  for (const near of answer.neighbours) {
    const line = make("li");
    line.append(image(`/neighbours/${near.place}`, near.name), make("b", near.label), make("span", near.name), make("span", `distance ${near.distance.toPrecision(3)}`));
    card.querySelector(".neighbours").append(line);
  }
  if (!answer.neighbours.length) card.querySelector(".near").remove();
}

async function classify(file) {
  if (file.size > model.largest) {
    fail(file.name, `this file has ${file.size.toLocaleString("en")} bytes, the limit is ${model.largest.toLocaleString("en")}; make it smaller`);
    return;
  }
  let response;
  try {
    response = await fetch("/classify", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
  } catch {
    fail(file.name, "the program did not answer; it may have ended, or the file cannot be read");
    return;
  }
  const answer = await response.json().catch(() => ({ error: `the program answered ${response.status}; drop the picture again` }));
  if (answer.error) fail(file.name, answer.error);
  else show(file.name, answer);
}

async function take(files) {
  const left = MOST - waiting.length;
  const over = files.length - left;
  waiting.push(...files.slice(0, left));
  const note = over > 0 ? ` ${MOST} pictures are taken at once: ${over} left out.` : "";
  find("status").textContent = note.trim();
  if (busy) return;
  busy = true;
  let done = 0;
  while (waiting.length) {
    find("status").textContent = `Looking at picture ${done + 1} of ${done + waiting.length}.${note}`;
    await classify(waiting.shift());
    done += 1;
  }
  busy = false;
  find("status").textContent = `${done} ${done === 1 ? "picture" : "pictures"} looked at.${note}`;
}

find("files").addEventListener("change", (event) => {
  take([...event.target.files]);
  event.target.value = "";
});
find("form").addEventListener("submit", (event) => event.preventDefault());
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    find("drop").classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    if (name === "drop" || !event.relatedTarget) find("drop").classList.remove("over");
  });
}
document.addEventListener("drop", (event) => take([...event.dataTransfer.files]));
begin();
