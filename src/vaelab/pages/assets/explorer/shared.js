"use strict";
// What the parts of the explorer share: the data, the state, images as tiles, and latents.

const given = dataOf("explorer-data");
const [, HEIGHT, WIDTH] = given.models[0].network.image;
const PIXELS = HEIGHT * WIDTH;
const LATENTS = given.models[0].network.latents;
const COUNT = given.labels.length;
const colours = Object.fromEntries(given.classes.map((each) => [each.number, each.colours]));  // on light and on dark
const classColour = (label) => colours[label][onDark() ? 1 : 0];
const names = Object.fromEntries(given.classes.map((each) => [each.number, each.name]));
const ofClass = (label) => (names[label] === "no label" ? "no class" : `class ${names[label]}`);

// `subject` is the image whose posterior is looked at: one of the test images, or the drawing. `active` is the model
// whose point moves by drags, arrow keys and sliders; with `sameZ` all do. A, B and C are subjects too. Each model has a
// frame, what its plane shows: the same one for all with `sameAxes`.
const state = {
  subject: null, hovered: null, A: null, B: null, C: null, share: 0, path: "linear", active: 0, sameZ: false,
  hidden: new Set(), background: "none", points: "dots", names: true, axes: [0, 1], sameAxes: true,
  epoch: null, sigma: 1, noise: [], showNoise: false, freeze: true, showPath: false,
};
const views = [];
let images = null;

const element = (id) => document.getElementById(id);
const dot = (a, b) => { let sum = 0; for (let k = 0; k < a.length; k++) sum += a[k] * b[k]; return sum; };
const shown = (value, digits = 2) => typographic(value.toFixed(digits).replace(/^-(?=0\.?0*$)/, ""));
const precise = (value) => String(Number(value.toPrecision(2)));
const whole = (count) => count.toLocaleString("en");
const percent = (share) => `${Math.round(100 * share)} %`;
const latentName = (dimension) => "z" + String(dimension + 1).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

// --- random numbers: the same for everyone who opens the page -------------------------------------------------

function generator(seed) {  // mulberry32
  return () => {
    seed = (seed + 0x6D2B79F5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// A draw of N(0, I) of the latents (Box and Muller 1958).
const normal = (random) => Float32Array.from({ length: LATENTS }, () =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));

const random = generator(1);

// --- images ---------------------------------------------------------------------------------------------------

const grey = (number) => Float32Array.from(images.subarray(number * PIXELS, (number + 1) * PIXELS), (value) => value / 255);

// A test image as a subject. Its posterior is the one that PyTorch has computed.
function testImage(index) {
  return { index, pixels: grey(index), name: names[given.labels[index]], text: `test image ${index}, ${ofClass(given.labels[index])}` };
}

const subjectShown = () => (state.hovered === null ? state.subject : testImage(state.hovered));

function newImage(label, columns = 1, rows = 1) {  // without a label where what is around it has one
  const named = label ? { role: "img", "aria-label": label } : { "aria-hidden": true };
  return made("canvas", { className: "image", width: columns * (WIDTH + 1) - 1, height: rows * (HEIGHT + 1) - 1, ...named });
}

function paint(canvas, values, column = 0, row = 0) {
  const context = canvas.getContext("2d");
  const data = context.createImageData(WIDTH, HEIGHT);
  for (let place = 0; place < PIXELS; place++) {
    data.data[4 * place] = data.data[4 * place + 1] = data.data[4 * place + 2] = 255 * values[place];
    data.data[4 * place + 3] = 255;
  }
  context.putImageData(data, column * (WIDTH + 1), row * (HEIGHT + 1));
}

// An image with its caption below.
function tile(place, caption, label = caption) {
  const canvas = newImage(label);
  const text = made("figcaption", { textContent: caption });
  place.append(made("figure", { className: "tile" }, canvas, text));
  return { canvas, text };
}

// --- redrawing, at most once a frame -------------------------------------------------------------------------

const redrawn = [];  // functions that show the state, in the order in which they are called
let settled = null;
let pending = { draw: false, background: false };
const later = () => new Promise((done) => setTimeout(done));

function requestRedraw(background = false) {
  if (background) pending.background = true;
  if (pending.draw) return;
  pending.draw = true;
  requestAnimationFrame(redraw);
}

function redraw() {
  const { background } = pending;
  pending = { draw: false, background: false };
  for (const view of views) {
    if (background) view.drawBackground();
    view.draw();
  }
  for (const show of redrawn) show();
  clearTimeout(settled);
  settled = setTimeout(showSettled, 200);  // what takes longer, and what is announced
}

const whenSettled = [];
function showSettled() {
  for (const view of views) if (view.backgroundIsOld()) view.drawBackground();
  for (const show of whenSettled) show();
}
