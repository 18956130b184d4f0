"use strict";
// The interactive latent space. A View is one model's plane; all views share the pointer, the selected image, the
// pair of images between which to interpolate, and the drawing.

const given = dataOf("explorer-data");
const SIDE = given.models[0].network.image[1];
const PIXELS = SIDE * given.models[0].network.image[2];
const element = (id) => document.getElementById(id);
const latentName = (dimension) => "z" + String(dimension + 1).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
const dot = (a, b) => { let sum = 0; for (let k = 0; k < a.length; k++) sum += a[k] * b[k]; return sum; };
const shown = (value) => value.toFixed(2).replace("-", "−");
const colours = Object.fromEntries(given.classes.map((each) => [each.number, each.colour]));
const names = Object.fromEntries(given.classes.map((each) => [each.number, each.name]));

const state = { selected: 0, hovered: null, from: null, to: null, share: 0, path: "linear", drawn: false,
                hidden: new Set(), manifold: false, axes: [0, 1], centre: [0, 0], reach: 4 };
let images = null;
const views = [];

// --- images --------------------------------------------------------------------------------------------------

const grey = (number) => Float32Array.from(images.subarray(number * PIXELS, (number + 1) * PIXELS), (value) => value / 255);

function newImage(label) {
  const canvas = document.createElement("canvas");
  canvas.className = "image";
  canvas.width = PIXELS / SIDE;
  canvas.height = SIDE;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

function paint(canvas, values, column = 0, row = 0) {
  const context = canvas.getContext("2d");
  const data = context.createImageData(PIXELS / SIDE, SIDE);
  for (let place = 0; place < PIXELS; place++) {
    data.data[4 * place] = data.data[4 * place + 1] = data.data[4 * place + 2] = 255 * values[place];
    data.data[4 * place + 3] = 255;
  }
  context.putImageData(data, column * (PIXELS / SIDE + 1), row * (SIDE + 1));
}

function tile(place, label) {
  const box = document.createElement("div");
  box.className = "tile";
  const canvas = newImage(label);
  const text = document.createElement("div");
  text.textContent = label;
  box.append(canvas, text);
  place.append(box);
  return canvas;
}

// With one latent dimension there is only across: each class gets a lane of its own.
function lane(label) {
  const place = given.classes.findIndex((each) => each.number === label);
  return 2.5 - (5 * (place + 0.5)) / given.classes.length;
}

// --- one model -----------------------------------------------------------------------------------------------

class View {
  constructor(model, network, means) {
    Object.assign(this, { model, network, means });
    this.latents = model.network.latents;
    this.z = new Float32Array(this.latents);
    this.posterior = null;
    const box = document.createElement("section");
    box.className = "model";
    const heading = document.createElement("h2");
    heading.textContent = model.name;
    const view = document.createElement("div");
    view.className = "view";
    const plane = document.createElement("div");
    plane.className = "plane";
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", `Latent plane of ${model.name}: arrow keys move the point`);
    this.background = document.createElement("canvas");
    plane.append(this.canvas);
    const decoded = document.createElement("div");
    decoded.className = "decoded";
    this.decoded = newImage(`Decoded by ${model.name}`);
    this.where = document.createElement("p");
    this.where.className = "where";
    decoded.append(this.decoded, this.where);
    view.append(plane, decoded);
    const from = document.createElement("p");
    from.className = "small soft";
    from.textContent = model.checkpoint;
    box.append(heading, view, from);
    element("models").append(box);
    this.reconstruction = null;
  }

  axis(number) {  // a dimension, or beyond them a principal direction
    if (number >= this.latents) return Float64Array.from(this.model.directions[number - this.latents]);
    const unit = new Float64Array(this.latents);
    unit[number] = 1;
    return unit;
  }

  setAxes() {
    const [first, second] = this.latents === 1 ? [this.axis(0), new Float64Array(1)] : state.axes.map((number) => this.axis(number));
    const along = dot(first, second);  // a dimension beside a direction: the part of it that is perpendicular
    const rest = second.map((value, k) => value - along * first[k]);
    const length = Math.hypot(...rest);
    this.basis = [first, length > 1e-6 ? rest.map((value) => value / length) : rest];
    this.off = null;
    const count = given.labels.length;
    this.points = new Float32Array(2 * count);
    for (let image = 0; image < count; image++) {
      const mean = this.mean(image);
      this.points[2 * image] = dot(mean, this.basis[0]);
      this.points[2 * image + 1] = this.latents === 1 ? lane(given.labels[image]) : dot(mean, this.basis[1]);
    }
  }

  mean(image) { return this.means.subarray(image * this.latents, (image + 1) * this.latents); }
  project(z) { return this.basis.map((axis) => dot(z, axis)); }

  moveTo(u, v) {  // in the plane; the other dimensions stay
    [u, v].forEach((goal, number) => {
      const by = goal - dot(this.z, this.basis[number]);
      for (let k = 0; k < this.latents; k++) this.z[k] += by * this.basis[number][k];
    });
  }

  offPlane() {  // what the plane's background depends on
    const [u, v] = this.project(this.z);
    return this.z.map((value, k) => value - u * this.basis[0][k] - v * this.basis[1][k]);
  }

  hasLeftBackground() {
    const now = this.offPlane();
    return this.off === null || now.some((value, k) => Math.abs(value - this.off[k]) > 1e-4);
  }

  get size() { return this.canvas.width; }
  toPixel([u, v]) {
    const scale = this.size / (2 * state.reach);
    return [(u - state.centre[0] + state.reach) * scale, (state.reach - v + state.centre[1]) * scale];
  }
  fromPixel(x, y) {
    const scale = (2 * state.reach) / this.size;
    return [x * scale - state.reach + state.centre[0], state.reach + state.centre[1] - y * scale];
  }

  resize() {
    const size = Math.max(64, Math.round(this.canvas.clientWidth * window.devicePixelRatio));
    if (this.canvas.width !== size) for (const canvas of [this.canvas, this.background]) canvas.width = canvas.height = size;
  }

  nearest(x, y, within) {
    let [best, least] = [null, within ** 2];
    for (let image = 0; image < given.labels.length; image++) {
      if (state.hidden.has(given.labels[image])) continue;
      const [a, b] = this.toPixel([this.points[2 * image], this.points[2 * image + 1]]);
      const distance = (a - x) ** 2 + (b - y) ** 2;
      if (distance < least) [best, least] = [image, distance];
    }
    return best;
  }

  drawBackground() {  // what a drag does not change
    this.resize();
    const [context, size] = [this.background.getContext("2d"), this.size];
    context.clearRect(0, 0, size, size);
    this.off = this.offPlane();
    if (state.manifold) this.drawManifold(context);
    this.drawGrid(context);
    const radius = Math.max(1.5, size / 320);
    for (let image = 0; image < given.labels.length; image++) {
      const label = given.labels[image];
      if (state.hidden.has(label)) continue;
      const [x, y] = this.toPixel([this.points[2 * image], this.points[2 * image + 1]]);
      context.fillStyle = colours[label];
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fill();
    }
  }

  drawManifold(context) {
    const cells = this.network.spec.decoder.some((layer) => layer.op.startsWith("convolution")) ? 14 : 20;
    const [cell, kept, image] = [this.size / cells, this.z.slice(), newImage("")];
    context.imageSmoothingEnabled = true;
    context.globalAlpha = 0.75;
    const rows = this.latents === 1 ? [cells - 1] : [...Array(cells).keys()];
    for (const row of rows) for (let column = 0; column < cells; column++) {
      this.moveTo(...this.fromPixel((column + 0.5) * cell, (row + 0.5) * cell));
      paint(image, this.network.decode(this.z));
      context.drawImage(image, column * cell, row * cell, cell, cell);
    }
    context.globalAlpha = 1;
    this.z = kept;
  }

  drawGrid(context) {
    const [size, ratio] = [this.size, window.devicePixelRatio];
    const step = [0.5, 1, 2, 5, 10, 20, 50, 100].find((each) => each >= state.reach / 4) ?? 200;
    context.font = `${12 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
    context.lineWidth = ratio;
    const covered = state.manifold && this.latents > 1;  // by the manifold: a single row covers little
    const ink = covered ? "#ffffff" : colour("--soft");
    for (let axis = 0; axis < Math.min(2, this.latents); axis++) {
      const low = Math.ceil((state.centre[axis] - state.reach) / step) * step;
      for (let tick = low; tick <= state.centre[axis] + state.reach; tick += step) {
        const [x, y] = this.toPixel(axis ? [0, tick] : [tick, 0]);
        context.strokeStyle = colour("--line");
        if (!covered) {
          context.beginPath();
          context.moveTo(axis ? 0 : x, axis ? y : 0);
          context.lineTo(axis ? size : x, axis ? y : size);
          context.stroke();
        }
        const text = String(Math.round(tick * 10) / 10).replace("-", "−");
        context.textAlign = axis ? "left" : "center";
        if (state.manifold) {
          context.strokeStyle = "#000000";
          context.lineWidth = 3 * ratio;
          context.strokeText(text, axis ? 4 * ratio : x, axis ? y - 3 * ratio : size - 5 * ratio);
          context.lineWidth = ratio;
        }
        context.fillStyle = state.manifold ? "#ffffff" : ink;
        context.fillText(text, axis ? 4 * ratio : x, axis ? y - 3 * ratio : size - 5 * ratio);
      }
    }
    context.strokeStyle = ink;
    context.setLineDash([5 * ratio, 4 * ratio]);
    const [x, y] = this.toPixel([0, 0]);
    for (const sigma of [1, 2, 3]) {
      const radius = (sigma * size) / (2 * state.reach);
      context.beginPath();
      if (this.latents === 1) for (const side of [x - radius, x + radius]) { context.moveTo(side, 0); context.lineTo(side, size); }
      else context.arc(x, y, radius, 0, 7);
      context.stroke();
    }
    context.setLineDash([]);
  }

  draw() {
    const [context, ratio] = [this.canvas.getContext("2d"), window.devicePixelRatio];
    context.clearRect(0, 0, this.size, this.size);
    context.drawImage(this.background, 0, 0);
    const ink = colour("--ink");
    const ring = (point, radius, width = 2) => {
      for (const [style, wide] of [[colour("--paper"), width + 2], [ink, width]]) {
        context.strokeStyle = style;
        context.lineWidth = wide * ratio;
        context.beginPath();
        context.arc(...this.toPixel(point), radius * ratio, 0, 7);
        context.stroke();
      }
    };
    const line = this.interpolation();
    if (line) {
      context.strokeStyle = ink;
      context.lineWidth = 1.5 * ratio;
      context.beginPath();
      line.forEach((z, step) => context[step ? "lineTo" : "moveTo"](...this.toPixel(this.project(z))));
      context.stroke();
      for (const [image, letter] of [[state.from, "A"], [state.to, "B"]]) this.letter(context, letter, this.project(this.mean(image)));
    }
    if (state.drawn && this.posterior) this.drawEllipse(context);
    const selected = state.hovered ?? state.selected;
    ring([this.points[2 * selected], this.points[2 * selected + 1]], 6);
    const [x, y] = this.toPixel(this.project(this.z));
    for (const [style, wide] of [[colour("--paper"), 5], [ink, 2]]) {
      context.strokeStyle = style;
      context.lineWidth = wide * ratio;
      context.beginPath();
      context.moveTo(x - 11 * ratio, y); context.lineTo(x + 11 * ratio, y);
      context.moveTo(x, y - 11 * ratio); context.lineTo(x, y + 11 * ratio);
      context.stroke();
    }
    paint(this.decoded, this.network.decode(this.z));
    const values = this.latents <= 4 ? [...this.z].map((value, k) => [latentName(k), value])
      : this.project(this.z).map((value, axis) => [axis ? "up" : "across", value]);
    this.where.textContent = values.map(([name, value]) => `${name} = ${shown(value)}`).join("  ");
  }

  letter(context, text, point) {
    const ratio = window.devicePixelRatio;
    context.font = `bold ${15 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = "center";
    context.lineWidth = 4 * ratio;
    context.strokeStyle = colour("--paper");
    context.fillStyle = colour("--ink");
    const [x, y] = this.toPixel(point);
    context.strokeText(text, x, y - 8 * ratio);
    context.fillText(text, x, y - 8 * ratio);
  }

  drawEllipse(context) {  // of q(z|x), projected: its covariance in the plane is B diag(σ²) Bᵀ
    const variance = this.posterior.logVariance.map(Math.exp);
    const cov = (a, b) => { let sum = 0; for (let k = 0; k < this.latents; k++) sum += a[k] * b[k] * variance[k]; return sum; };
    const [xx, xy, yy] = [cov(this.basis[0], this.basis[0]), cov(this.basis[0], this.basis[1]), cov(this.basis[1], this.basis[1])];
    const middle = (xx + yy) / 2;
    const spread = Math.hypot((xx - yy) / 2, xy);
    const scale = this.size / (2 * state.reach);
    const [x, y] = this.toPixel(this.project(this.posterior.mean));
    context.strokeStyle = colour("--accent");
    context.fillStyle = colour("--accent");
    context.lineWidth = 2 * window.devicePixelRatio;
    for (const sigma of [1, 2]) {
      context.beginPath();
      context.ellipse(x, y, sigma * scale * Math.sqrt(middle + spread), sigma * scale * Math.sqrt(Math.max(0, middle - spread)),
                      -0.5 * Math.atan2(2 * xy, xx - yy), 0, 7);
      context.stroke();
    }
    context.beginPath();
    context.arc(x, y, 3 * window.devicePixelRatio, 0, 7);
    context.fill();
  }

  // --- interpolation from A to B

  between(share, path = state.path) {
    const [start, end] = [this.mean(state.from), this.mean(state.to)];
    const line = start.map((value, k) => value + share * (end[k] - value));
    if (path === "linear") return line;
    const lengths = [Math.hypot(...start), Math.hypot(...end)].map((length) => Math.max(length, 1e-12));
    const angle = Math.acos(Math.min(1, Math.max(-1, dot(start, end) / (lengths[0] * lengths[1]))));
    const sine = Math.sin(angle);
    if (sine <= 1e-4) return line;
    const length = lengths[0] + share * (lengths[1] - lengths[0]);
    return start.map((value, k) => (length * (Math.sin((1 - share) * angle) * value / lengths[0]
                                              + Math.sin(share * angle) * end[k] / lengths[1])) / sine);
  }

  interpolation() {
    if (state.from === null || state.to === null) return null;
    return Array.from({ length: 41 }, (_, step) => this.between(step / 40));
  }
}

// --- what all views share ------------------------------------------------------------------------------------

let timer = null;  // redraws the manifold when the point has left its plane and stopped moving
let pending = { draw: false, background: false };
function requestRedraw(background = false) {
  if (background) pending.background = true;
  if (pending.draw) return;
  pending.draw = true;
  requestAnimationFrame(() => {
    const whole = pending.background;
    pending = { draw: false, background: false };
    for (const view of views) {
      if (whole) view.drawBackground();
      view.draw();
    }
    showSliders();
    clearTimeout(timer);
    if (state.manifold && views.some((view) => view.hasLeftBackground())) timer = setTimeout(() => requestRedraw(true), 150);
  });
}

function selectImage(image, keep = true) {
  if (!keep && image === state.hovered) return;
  if (keep) state.selected = image;
  state.hovered = keep ? null : image;
  const shown = image ?? state.selected;
  if (selectImage.shown !== shown) {
    selectImage.shown = shown;
    paint(selectImage.canvas, grey(shown));
    for (const view of views) paint(view.reconstruction, view.network.decode(view.network.encode(grey(shown)).mean));
    element("of-class").textContent = `${shown}: ${names[given.labels[shown]]}`;
    if (document.activeElement !== element("number")) element("number").value = shown;
  }
  requestRedraw();
}

function resetView() {
  state.centre = [0, 0];
  let farthest = 3;
  for (const view of views) for (const value of view.points) farthest = Math.max(farthest, Math.abs(value));
  state.reach = farthest * 1.05;
}

function zoom(wanted, [u, v] = views[0].project(views[0].z)) {
  const reach = Math.min(1000, Math.max(0.2, state.reach * wanted));
  const factor = reach / state.reach;
  state.reach = reach;
  state.centre = [u + (state.centre[0] - u) * factor, v + (state.centre[1] - v) * factor];
  requestRedraw(true);
}

function moveAll(u, v) {
  for (const view of views) view.moveTo(u, v);
  requestRedraw();
}

function follow(place) {  // move the view where the point would leave it
  const before = [...state.centre];
  state.centre = state.centre.map((centre, axis) => Math.min(place[axis] + 0.9 * state.reach, Math.max(place[axis] - 0.9 * state.reach, centre)));
  return state.centre.some((centre, axis) => centre !== before[axis]);
}

function listen(view) {
  const { canvas } = view;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    moveAll(...view.fromPixel(...place(event)));
    const near = view.nearest(...place(event), 9 * window.devicePixelRatio);
    if (near !== null) selectImage(near);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) return moveAll(...view.fromPixel(...place(event)));
    selectImage(view.nearest(...place(event), 9 * window.devicePixelRatio), false);
  });
  canvas.addEventListener("pointerleave", () => selectImage(null, false));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;  // the page scrolls
    event.preventDefault();
    zoom(Math.exp(event.deltaY / 500), view.fromPixel(...place(event)));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = state.reach / (event.shiftKey ? 10 : 50);
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (by) {
      const [u, v] = view.project(view.z);
      moveAll(u + by[0], v + by[1]);
      if (follow([u + by[0], v + by[1]])) requestRedraw(true);
    } else if (event.key === "+") zoom(1 / 1.25);
    else if (event.key === "-") zoom(1.25);
    else return;
    event.preventDefault();
  });
}

// --- controls ------------------------------------------------------------------------------------------------

// Dimensions by their KL; of two models, by the smaller one, so that the first axes are collapsed in neither.
function byKl() {
  const least = (k) => Math.min(...views.map((view) => view.model.kl[k]));
  return [...Array(views[0].latents).keys()].sort((a, b) => least(b) - least(a));
}

const klOf = (k) => views.map((view) => view.model.kl[k].toFixed(2)).join(" | ");

function collapsedIn(k) {
  const collapsed = views.filter((view) => view.model.collapsed[k]);
  if (!collapsed.length) return "";
  return collapsed.length === views.length ? ", collapsed" : `, collapsed in ${collapsed.map((view) => view.model.name).join(", ")}`;
}

function fillAxes() {
  const { latents, model } = views[0];
  if (latents <= 2) return;
  const order = byKl();
  state.axes = order.slice(0, 2);
  ["across", "up"].forEach((axis, number) => {
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.id = `axis-${axis}`;
    const options = [...order.map((k) => [k, `${latentName(k)}, KL ${klOf(k)}${collapsedIn(k)}`]),
                     ...model.directions.map((_, k) => [latents + k, `principal direction ${k + 1}`])];
    select.append(...options.map(([value, text]) => new Option(text, value)));
    select.value = state.axes[number];
    select.addEventListener("change", () => {
      const chosen = Number(select.value);
      if (chosen === state.axes[1 - number]) {  // the two change places
        state.axes[1 - number] = state.axes[number];
        element(number ? "axis-across" : "axis-up").value = state.axes[1 - number];
      }
      state.axes[number] = chosen;
      for (const view of views) view.setAxes();
      resetView();
      requestRedraw(true);
    });
    label.append(`${axis} `, select);
    element("axes").append(label, " ");
  });
}

function fillLegend() {
  for (const each of given.classes) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const mark = document.createElement("i");
    mark.style.background = each.colour;
    button.append(mark, each.name);
    button.addEventListener("click", () => {
      const off = !state.hidden.delete(each.number);
      if (off) state.hidden.add(each.number);
      button.setAttribute("aria-pressed", String(!off));
      requestRedraw(true);
    });
    element("legend").append(button);
  }
}

let sliders = [];
function fillSliders() {
  sliders = byKl().map((dimension) => {
    const label = document.createElement("label");
    if (collapsedIn(dimension)) label.className = "collapsed";
    const text = document.createElement("span");
    text.textContent = `${latentName(dimension)}, KL ${klOf(dimension)}${collapsedIn(dimension)}`;
    const slider = document.createElement("input");
    slider.type = "range";
    slider.step = "any";
    const output = document.createElement("output");
    label.append(text, slider, output);
    slider.addEventListener("input", () => {
      for (const view of views) view.z[dimension] = Number(slider.value);
      requestRedraw();
    });
    return { dimension, slider, output, label };
  });
  element("sliders").append(...sliders.map((each) => each.label));
}

function showSliders() {
  for (const { dimension, slider, output } of sliders) {
    const values = views.map((view) => view.z[dimension]);
    const reach = Math.max(4, state.reach, ...values.map(Math.abs));
    slider.min = -reach;
    slider.max = reach;
    if (document.activeElement !== slider) slider.value = values[0];
    output.textContent = [...new Set(values.map(shown))].join(" | ");
  }
}

const STEPS = 11;
function showInterpolations() {
  for (const [id, image] of [["a", state.from], ["b", state.to]]) {
    if (image === null) continue;
    const canvas = newImage(`${id.toUpperCase()}: ${names[given.labels[image]]}`);
    paint(canvas, grey(image));
    element(id).replaceChildren(canvas);
  }
  if (state.from === null || state.to === null) return requestRedraw();
  element("interpolations").replaceChildren(...views.map((view) => {
    const box = document.createElement("div");
    box.className = "strip";
    const text = document.createElement("p");
    text.textContent = `${view.model.name}: straight line above, great circle below`;
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Between A and B, decoded by ${view.model.name}`);
    canvas.width = STEPS * (PIXELS / SIDE + 1) - 1;
    canvas.height = 2 * SIDE + 1;
    ["linear", "spherical"].forEach((path, row) => {
      for (let step = 0; step < STEPS; step++) paint(canvas, view.network.decode(view.between(step / (STEPS - 1), path)), step, row);
    });
    box.append(text, canvas);
    return box;
  }));
  interpolate();
}

function interpolate() {
  element("share-now").textContent = `${Math.round(100 * state.share)} %`;
  if (state.from === null || state.to === null) return;
  for (const view of views) view.z = Float32Array.from(view.between(state.share));
  requestRedraw();
}

// --- drawing -------------------------------------------------------------------------------------------------

const pad = element("pad");
let ink = null;

function showInk() {
  paint(pad, ink);
  state.drawn = ink.some((value) => value > 0);
  for (const view of views) {
    view.posterior = view.network.encode(ink);
    paint(view.redrawn, state.drawn ? view.network.decode(view.posterior.mean) : ink);
    if (state.drawn) view.z = view.posterior.mean.slice();
  }
  requestRedraw();
}

function brush(x, y) {  // with a soft edge
  for (let row = 0; row < SIDE; row++) for (let column = 0; column < PIXELS / SIDE; column++) {
    const strength = 1.35 - Math.hypot(column + 0.5 - x, row + 0.5 - y) / 1.6;
    const place = row * (PIXELS / SIDE) + column;
    ink[place] = Math.max(ink[place], Math.min(1, strength));
  }
}

function centre() {  // by the centre of mass, as MNIST's digits are
  let [total, x, y] = [0, 0, 0];
  const wide = PIXELS / SIDE;
  ink.forEach((value, place) => { total += value; x += value * (place % wide); y += value * Math.floor(place / wide); });
  if (total === 0) return;
  const [right, down] = [Math.round((wide - 1) / 2 - x / total), Math.round((SIDE - 1) / 2 - y / total)];
  const before = ink;
  ink = new Float32Array(PIXELS);
  for (let row = 0; row < SIDE; row++) for (let column = 0; column < wide; column++) {
    const [a, b] = [column - right, row - down];
    if (a >= 0 && a < wide && b >= 0 && b < SIDE) ink[row * wide + column] = before[b * wide + a];
  }
  showInk();
}

const showMessage = (text) => { element("message").textContent = text; };

async function readFile(file) {
  const wide = PIXELS / SIDE;
  const image = new Image();
  try {
    image.src = URL.createObjectURL(file);
    await image.decode();
  } catch {
    return showMessage(`${file.name} is not an image that this browser can read.`);
  } finally {
    URL.revokeObjectURL(image.src);
  }
  const [width, height] = [image.naturalWidth || 100, image.naturalHeight || 100];
  const scale = Math.min(wide / width, SIDE / height);
  const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#ffffff";  // background of transparent images
  context.fillRect(0, 0, w, h);
  context.drawImage(image, 0, 0, w, h);
  const { data } = context.getImageData(0, 0, w, h);
  const grey = Float32Array.from({ length: w * h }, (_, k) => (0.299 * data[4 * k] + 0.587 * data[4 * k + 1] + 0.114 * data[4 * k + 2]) / 255);
  const edge = grey.filter((_, k) => k < w || k >= w * (h - 1) || k % w === 0 || k % w === w - 1);
  const light = edge.reduce((sum, value) => sum + value) / edge.length > 0.5;  // dark on light: the data is inverted
  ink = new Float32Array(PIXELS);
  const [left, top] = [Math.floor((wide - w) / 2), Math.floor((SIDE - h) / 2)];
  grey.forEach((value, k) => { ink[(top + Math.floor(k / w)) * wide + left + (k % w)] = light ? 1 - value : value; });
  showMessage(`${file.name}${light ? ", inverted: light pixels became black" : ""}.`);
  showInk();
}

function listenToPad() {
  let last = null;
  const place = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * (PIXELS / SIDE), ((event.clientY - box.top) / box.height) * SIDE];
  };
  const stroke = (event) => {
    const [x, y] = place(event);
    const steps = last ? Math.ceil(Math.hypot(x - last[0], y - last[1]) * 2) : 1;
    for (let step = 1; step <= steps; step++) {
      const share = step / steps;
      brush(...(last ? [last[0] + share * (x - last[0]), last[1] + share * (y - last[1])] : [x, y]));
    }
    last = [x, y];
    showInk();
  };
  pad.addEventListener("pointerdown", (event) => { pad.setPointerCapture(event.pointerId); last = null; stroke(event); });
  pad.addEventListener("pointermove", (event) => { if (pad.hasPointerCapture(event.pointerId)) stroke(event); });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {  // beside the pad too: the browser would open the file instead of the page
    event.preventDefault();
    if (event.dataTransfer.files[0]) readFile(event.dataTransfer.files[0]);
  });
  element("file").addEventListener("change", (event) => {
    if (event.target.files[0]) readFile(event.target.files[0]);
    event.target.value = "";
  });
  element("clear").addEventListener("click", () => { ink.fill(0); showMessage(""); showInk(); });
  element("centre").addEventListener("click", centre);
}

// --- start ---------------------------------------------------------------------------------------------------

async function start() {
  images = await unpack(element("images").textContent.trim());
  for (const model of given.models) {
    const [network, means] = await Promise.all([Network.load(model), unpack(model.means)]);
    views.push(new View(model, network, new Float32Array(means.buffer)));
  }
  fillAxes();
  for (const view of views) { view.setAxes(); listen(view); }
  resetView();
  fillLegend();
  fillSliders();
  selectImage.canvas = tile(element("shown"), "image");
  for (const view of views) {
    view.reconstruction = tile(element("shown"), views.length > 1 ? view.model.name : "reconstruction");
    view.redrawn = tile(element("drawn"), views.length > 1 ? view.model.name : "reconstruction");
  }
  ink = new Float32Array(PIXELS);
  listenToPad();
  paint(pad, ink);
  for (const view of views) paint(view.redrawn, ink);
  const number = element("number");
  number.max = given.labels.length - 1;
  number.addEventListener("input", () => {
    const chosen = Math.round(Number(number.value));
    if (number.value !== "" && chosen >= 0 && chosen < given.labels.length) selectImage(chosen);
  });
  element("manifold").addEventListener("change", (event) => { state.manifold = event.target.checked; requestRedraw(true); });
  element("zoom-in").addEventListener("click", () => zoom(1 / 1.25));
  element("zoom-out").addEventListener("click", () => zoom(1.25));
  element("reset").addEventListener("click", () => { for (const view of views) view.z.fill(0); resetView(); requestRedraw(true); });
  for (const [id, end] of [["set-a", "from"], ["set-b", "to"]])
    element(id).addEventListener("click", () => { state[end] = state.selected; showInterpolations(); });
  element("share").addEventListener("input", (event) => { state.share = Number(event.target.value); interpolate(); });
  for (const choice of document.querySelectorAll('input[name="path"]'))
    choice.addEventListener("change", () => { state.path = choice.value; interpolate(); });
  window.addEventListener("resize", () => requestRedraw(true));
  dark.addEventListener("change", () => requestRedraw(true));
  selectImage(0);
  requestRedraw(true);
  requestAnimationFrame(() => requestAnimationFrame(() => element("explorer").setAttribute("aria-busy", "false")));
}

window.explorer = { state, views, ready: start().catch((error) => {
  const text = document.createElement("p");
  text.className = "error";
  text.textContent = `This page could not start: ${error.message}. It requires a browser of 2023 or newer.`;
  element("explorer").prepend(text);
  throw error;
}) };
