// The latent plane of one model, with the images that it decodes.

// Places around a point, the nearest first, in lines of text.
const AROUND = [...Array(21 * 21).keys()].map((place) => [(place % 21 - 10) / 2, (Math.floor(place / 21) - 10) / 2])
  .sort((a, b) => Math.hypot(...a) - Math.hypot(...b));
const NEAR = AROUND.findLastIndex((place) => Math.hypot(...place) < 1.6);

class View {
  constructor(model, number) {
    Object.assign(this, { model, number, z: new Float32Array(LATENTS), moment: null, loaded: new Map() });
    this.canvas = made("canvas", { tabIndex: 0, role: "application", "aria-describedby": "keys",
                                   "aria-label": `Latent plane of ${model.name}` });
    this.background = document.createElement("canvas");
    this.manifold = document.createElement("canvas");
    this.outputs = made("div", { className: "outputs" });
    this.decoded = tile(this.outputs, "decoded at z", `Decoded at z by ${model.name}`).canvas;
    this.reconstruction = tile(this.outputs, "reconstruction", `Reconstruction by ${model.name}`).canvas;
    this.reading = made("div", { className: "reading" });
    this.near = made("div", { className: "near", role: "group", "aria-label": `Test images nearest to z, ${model.name}` });
    this.nearText = made("p", { className: "small" });
    const heading = made("h2", { textContent: model.name });
    if (given.models.length === 1) heading.classList.add("hidden");
    const plane = made("div", { className: "plane" }, this.canvas);
    this.box = made("section", { className: "model" }, heading, plane, this.outputs, this.reading,
                    made("div", { className: "nearest" }, this.nearText, this.near));
    element("models").append(this.box);
  }

  // --- the checkpoint of an epoch

  async load(epoch) {
    const moment = this.model.moments.findLast((each) => each.epoch <= epoch) ?? this.model.moments[0];
    if (!this.loaded.has(moment)) {
      const [weights, posterior] = await Promise.all([unpack(moment.weights), unpack(moment.posterior)]);
      const values = new Float32Array(posterior.buffer);
      const logVariances = values.subarray(COUNT * LATENTS);
      this.loaded.set(moment, {
        epoch: moment.epoch, network: new Network(this.model, new Float32Array(weights.buffer)), logVariances,
        means: values.subarray(0, COUNT * LATENTS), precisions: logVariances.map((value) => Math.exp(-value)),
      });
    }
    Object.assign(this, this.loaded.get(moment));
    this.measureDimensions();
  }

  measureDimensions() {  // over the images of the page
    this.kl = new Float64Array(LATENTS);
    this.spread = new Float64Array(LATENTS);
    this.sigma = new Float64Array(LATENTS);
    for (let k = 0; k < LATENTS; k++) {
      let [sum, squares] = [0, 0];
      for (let place = k; place < COUNT * LATENTS; place += LATENTS) {
        const [mean, logVariance] = [this.means[place], this.logVariances[place]];
        sum += mean;
        squares += mean ** 2;
        this.kl[k] += 0.5 * (mean ** 2 + Math.exp(logVariance) - 1 - logVariance) / COUNT;
        this.sigma[k] += Math.exp(0.5 * logVariance) / COUNT;
      }
      this.spread[k] = Math.sqrt(Math.max(0, squares / COUNT - (sum / COUNT) ** 2));
    }
  }

  collapsed(k) { return this.kl[k] < given.collapsed.kl && this.spread[k] ** 2 <= given.collapsed.variance; }
  mean(image) { return this.means.subarray(image * LATENTS, (image + 1) * LATENTS); }

  // q(z|x) of a subject; a drawing is encoded once for each checkpoint.
  posterior(subject) {
    if (subject.index !== null) {
      const place = subject.index * LATENTS;
      return { mean: this.mean(subject.index), logVariance: this.logVariances.subarray(place, place + LATENTS) };
    }
    subject.encoded ??= new Map();
    if (!subject.encoded.has(this.network)) subject.encoded.set(this.network, this.network.encode(subject.pixels));
    return subject.encoded.get(this.network);
  }

  // --- distances in the latent space

  // Squared distance of z to an image's posterior mean, in units of its sigma; `stop` ends the sum early.
  standardised(z, image, stop = Infinity) {
    let sum = 0;
    for (let k = 0, place = image * LATENTS; k < LATENTS && sum <= stop; k++, place++) sum += (z[k] - this.means[place]) ** 2 * this.precisions[place];
    return sum;
  }

  isHole(z) {  // outside the 95 % region of every image's posterior
    for (let image = 0; image < COUNT; image++) if (this.standardised(z, image, given.covered.square) <= given.covered.square) return false;
    return true;
  }

  nearestImages(z, count) {
    const distances = Float64Array.from({ length: COUNT }, (_, image) => {
      let sum = 0;
      for (let k = 0, place = image * LATENTS; k < LATENTS; k++, place++) sum += (z[k] - this.means[place]) ** 2;
      return sum;
    });
    const found = [];  // sorted, nearest first
    for (let image = 0; image < COUNT; image++) {
      if (found.length === count && distances[image] >= distances[found[count - 1]]) continue;
      const place = found.findIndex((other) => distances[image] < distances[other]);
      found.splice(place < 0 ? found.length : place, 0, image);
      if (found.length > count) found.pop();
    }
    return found;
  }

  // --- the plane

  axis(number) {  // a dimension, or beyond them a principal direction
    if (number >= LATENTS) return Float64Array.from(this.model.directions[number - LATENTS]);
    const unit = new Float64Array(LATENTS);
    unit[number] = 1;
    return unit;
  }

  setAxes() {
    const [first, second] = LATENTS === 1 ? [this.axis(0), new Float64Array(1)] : state.axes.map((number) => this.axis(number));
    const along = dot(first, second);  // a dimension beside a direction: the part of it that is perpendicular
    const rest = second.map((value, k) => value - along * first[k]);
    const length = Math.hypot(...rest);
    this.basis = [first, length > 1e-6 ? rest.map((value) => value / length) : rest];
    this.points = new Float32Array(2 * COUNT);
    for (let image = 0; image < COUNT; image++) {
      const mean = this.mean(image);
      this.points[2 * image] = dot(mean, this.basis[0]);
      this.points[2 * image + 1] = LATENTS === 1 ? lane(given.labels[image]) : dot(mean, this.basis[1]);
    }
  }

  project(z) { return this.basis.map((axis) => dot(z, axis)); }

  moveTo(u, v, z = this.z) {  // in the plane; what is perpendicular to it stays
    [u, v].forEach((goal, number) => {
      const by = goal - dot(z, this.basis[number]);
      for (let k = 0; k < LATENTS; k++) z[k] += by * this.basis[number][k];
    });
    return z;
  }

  offPlane() {  // what the decoded images and the holes in the background depend on
    const [u, v] = this.project(this.z);
    return this.z.map((value, k) => value - u * this.basis[0][k] - v * this.basis[1][k]);
  }

  backgroundIsOld() {
    return state.background !== "none" && LATENTS > 2 && this.off !== asText(this.offPlane());
  }

  get size() { return this.canvas.width; }
  get ratio() { return this.size / Math.max(1, this.canvas.clientWidth); }
  toPixel([u, v]) {
    const scale = this.size / (2 * this.frame.reach);
    return [(u - this.frame.centre[0] + this.frame.reach) * scale, (this.frame.reach - v + this.frame.centre[1]) * scale];
  }
  fromPixel(x, y) {
    const scale = (2 * this.frame.reach) / this.size;
    return [x * scale - this.frame.reach + this.frame.centre[0], this.frame.reach + this.frame.centre[1] - y * scale];
  }

  resize() {
    const size = Math.max(64, Math.round(this.canvas.clientWidth * window.devicePixelRatio));
    if (this.canvas.width !== size) for (const canvas of [this.canvas, this.background, this.manifold]) canvas.width = canvas.height = size;
  }

  nearest(x, y, within) {  // the image whose point is there
    let [best, least] = [null, within ** 2];
    for (let image = 0; image < COUNT; image++) {
      if (state.hidden.has(given.labels[image])) continue;
      const [a, b] = this.toPixel([this.points[2 * image], this.points[2 * image + 1]]);
      const distance = (a - x) ** 2 + (b - y) ** 2;
      if (distance < least) [best, least] = [image, distance];
    }
    return best;
  }

  // --- drawing: what a drag doesn't change

  drawBackground() {
    this.resize();
    this.off = asText(this.offPlane());
    if (state.background === "manifold") this.drawManifold();
    this.compose();
  }

  compose() {
    const [context, size] = [this.background.getContext("2d"), this.size];
    context.clearRect(0, 0, size, size);
    if (state.background === "manifold") context.drawImage(this.manifold, 0, 0);
    if (state.background === "holes") this.drawHoles(context);
    this.drawGrid(context);
    if (state.points !== "none") this.drawPoints(context);
    this.drawPrior(context);
    if (state.names) this.drawNames(context);
  }

  // A few images at a time, so that the page answers meanwhile; those of another plane are cleared at once.
  async drawManifold() {
    const [plane, shown] = [[this.frame, this.size, state.axes, this.epoch], [this.off, Network.given]].map((each) => JSON.stringify(each));
    if (this.drawn?.join() === [plane, shown].join()) return;
    const context = this.manifold.getContext("2d");
    if (this.drawn?.[0] !== plane) context.clearRect(0, 0, this.size, this.size);
    const own = this.drawn = [plane, shown];
    const cells = this.network.spec.decoder.some((layer) => layer.op.startsWith("convolution") || layer.op === "residual") ? 14 : 20;
    const [cell, z, image] = [this.size / cells, this.z.slice(), newImage("")];
    const rows = LATENTS === 1 ? [cells - 1] : [...Array(cells).keys()];
    let began = performance.now();
    for (const row of rows) for (let column = 0; column < cells; column++) {
      this.moveTo(...this.fromPixel((column + 0.5) * cell, (row + 0.5) * cell), z);
      paint(image, this.network.decode(z));
      context.drawImage(image, column * cell, row * cell, cell, cell);
      if (performance.now() - began < 15) continue;
      await later();
      if (own !== this.drawn) return;  // another one is being drawn
      began = performance.now();
      if (column === cells - 1) this.showManifold();
    }
    this.showManifold();
  }

  showManifold() {
    this.compose();
    this.draw();
  }

  drawHoles(context) {  // hatched
    const [cells, z] = [100, this.z.slice()];
    const cell = this.size / cells;
    context.save();
    context.beginPath();
    const rows = LATENTS === 1 ? [0] : [...Array(cells).keys()];
    for (const row of rows) for (let column = 0; column < cells; column++) {
      this.moveTo(...this.fromPixel((column + 0.5) * cell, (row + 0.5) * cell), z);
      if (this.isHole(z)) context.rect(column * cell, row * cell, cell + 0.5, LATENTS === 1 ? this.size : cell + 0.5);
    }
    context.fillStyle = colour("--hole");
    context.fill();
    context.clip();
    context.strokeStyle = colour("--hole-line");
    context.lineWidth = this.ratio;
    context.beginPath();
    for (let x = -this.size; x < this.size; x += 8 * this.ratio) { context.moveTo(x, this.size); context.lineTo(x + this.size, 0); }
    context.stroke();
    context.restore();
  }

  drawPoints(context) {
    const radius = Math.max(2.2, this.canvas.clientWidth / 240) * this.ratio;
    const edge = state.background === "manifold" ? "#ffffff" : colour("--ink");
    const taken = new Set();
    const [cell, thumbnail] = [26 * this.ratio, newImage("")];
    for (let image = 0; image < COUNT; image++) {
      const label = given.labels[image];
      if (state.hidden.has(label)) continue;
      const [x, y] = this.toPixel([this.points[2 * image], this.points[2 * image + 1]]);
      if (x < 0 || y < 0 || x > this.size || y > this.size) continue;
      if (state.points === "images") {  // one for each place where there are any
        const place = `${Math.floor(x / cell)} ${Math.floor(y / cell)}`;
        if (taken.has(place)) continue;
        taken.add(place);
        const [left, top] = place.split(" ").map((each) => each * cell);
        paint(thumbnail, grey(image));
        context.drawImage(thumbnail, left + 1, top + 1, cell - 2, cell - 2);
        context.strokeStyle = classColour(label);
        context.lineWidth = 1.5 * this.ratio;
        context.strokeRect(left + 1, top + 1, cell - 2, cell - 2);
        continue;
      }
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fillStyle = classColour(label);
      context.fill();
      context.globalAlpha = 0.7;  // an edge: not every colour has contrast enough alone
      context.strokeStyle = edge;
      context.lineWidth = 0.6 * this.ratio;
      context.stroke();
      context.globalAlpha = 1;
    }
  }

  drawGrid(context) {
    const { size, ratio } = this;
    const step = [0.5, 1, 2, 5, 10, 20, 50, 100].find((each) => each >= this.frame.reach / 4) ?? 200;
    const titles = LATENTS === 1 ? [latentName(0)] : state.axes.map(axisName);
    const covered = state.background === "manifold" && LATENTS > 1;
    for (let axis = 0; axis < titles.length; axis++) {
      const low = Math.ceil((this.frame.centre[axis] - this.frame.reach) / step) * step;
      for (let tick = low; tick <= this.frame.centre[axis] + this.frame.reach; tick += step) {
        const [x, y] = this.toPixel(axis ? [0, tick] : [tick, 0]);
        if (!covered) {
          context.strokeStyle = colour("--line");
          context.lineWidth = ratio;
          context.beginPath();
          context.moveTo(axis ? 0 : x, axis ? y : 0);
          context.lineTo(axis ? size : x, axis ? y : size);
          context.stroke();
        }
        const text = typographic(Math.round(tick * 10) / 10);
        if (axis ? y > 30 * ratio && y < size - 24 * ratio : x > 24 * ratio && x < size - 90 * ratio) {
          this.write(context, text, axis ? 5 * ratio : x, axis ? y + 4 * ratio : size - 7 * ratio, { align: axis ? "left" : "center" });
        }
      }
    }
    this.write(context, `${titles[0]} →`, size - 6 * ratio, size - 7 * ratio, { align: "right", weight: "bold" });
    if (titles[1]) this.write(context, `↑ ${titles[1]}`, 6 * ratio, 17 * ratio, { align: "left", weight: "bold" });
  }

  drawPrior(context) {  // circles at 1, 2 and 3 sigma
    const [x, y] = this.toPixel([0, 0]);
    for (const [style, dash] of [[colour("--paper"), []], [colour("--ink"), [5, 4]]]) {
      context.strokeStyle = style;
      context.lineWidth = (dash.length ? 1.2 : 3) * this.ratio;
      context.globalAlpha = dash.length ? 0.9 : 0.5;
      context.setLineDash(dash.map((each) => each * this.ratio));
      for (const sigma of [1, 2, 3]) {
        const radius = (sigma * this.size) / (2 * this.frame.reach);
        context.beginPath();
        if (LATENTS === 1) for (const side of [x - radius, x + radius]) { context.moveTo(side, 0); context.lineTo(side, this.size); }
        else context.arc(x, y, radius, 0, 7);
        context.stroke();
      }
    }
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  // At the median of a class's points or, where another name is, at the nearest free place, with a line to the median.
  drawNames(context) {
    const size = this.canvas.clientWidth < 250 ? 10 : 13;
    const [high, edge, found] = [1.3 * size * this.ratio, 22 * this.ratio, []];
    const free = ([left, top, right, bottom]) => left > 0 && top > edge && right < this.size && bottom < this.size - edge
      && found.every(({ box }) => left >= box[2] || box[0] >= right || top >= box[3] || box[1] >= bottom);
    this.font(context, "bold", size);
    for (const { name, number } of given.classes) {
      const own = [...Array(COUNT).keys()].filter((image) => given.labels[image] === number);
      if (state.hidden.has(number) || !own.length) continue;
      const median = [0, 1].map((axis) => own.map((image) => this.points[2 * image + axis]).sort((a, b) => a - b)[own.length >> 1]);
      const [[x, y], half] = [this.toPixel(median), context.measureText(name).width / 2 + 2 * this.ratio];
      const boxes = AROUND.map(([right, down]) => [x + right * high - half, y + (down - 0.5) * high, x + right * high + half, y + (down + 0.5) * high]);
      const box = boxes.find(free);
      if (box) found.push({ name, box, x, y, far: boxes.indexOf(box) > NEAR });  // else the class is not in this part of the plane
    }
    const middle = ({ box }) => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    for (const each of found.filter(({ far }) => far)) this.outlined(context, () => { context.moveTo(each.x, each.y); context.lineTo(...middle(each)); }, 1);
    for (const each of found) this.write(context, each.name, middle(each)[0], middle(each)[1] + 0.35 * size * this.ratio, { weight: "bold", size });
  }

  font(context, weight, size) {
    context.font = `${weight} ${size * this.ratio}px ${getComputedStyle(document.body).fontFamily}`;
  }

  write(context, text, x, y, { align = "center", weight = "normal", size = 12 } = {}) {
    this.font(context, weight, size);
    context.textAlign = align;
    context.lineJoin = "round";
    context.lineWidth = 3.5 * this.ratio;
    context.strokeStyle = colour("--paper");
    context.fillStyle = colour("--ink");
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }

  // --- drawing: what moves

  draw() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.size, this.size);
    context.drawImage(this.background, 0, 0);
    this.drawInterpolation(context);
    const subject = subjectShown();
    this.drawPosterior(context, this.posterior(subject));
    if (state.showNoise) for (const z of this.noisy(subject)) this.mark(context, this.project(z), 2.5);
    if (subject.index !== null) this.mark(context, [this.points[2 * subject.index], this.points[2 * subject.index + 1]], 6, false);
    this.cross(context, this.toPixel(this.project(this.z)));
    paint(this.decoded, this.network.decode(this.z));
    this.box.classList.toggle("active", views.length > 1 && !state.sameZ && state.active === this.number);
  }

  outlined(context, trace, width = 2) {
    for (const [style, wide] of [[colour("--paper"), width + 2.5], [colour("--ink"), width]]) {
      context.strokeStyle = style;
      context.lineWidth = wide * this.ratio;
      context.beginPath();
      trace();
      context.stroke();
    }
  }

  mark(context, point, radius, filled = true) {
    const [x, y] = this.toPixel(point);
    this.outlined(context, () => context.arc(x, y, radius * this.ratio, 0, 7));
    if (!filled) return;
    context.fillStyle = colour("--accent");
    context.fill();
  }

  cross(context, [x, y]) {
    const arm = 12 * this.ratio;
    this.outlined(context, () => {
      context.moveTo(x - arm, y); context.lineTo(x + arm, y);
      context.moveTo(x, y - arm); context.lineTo(x, y + arm);
    }, 2.5);
  }

  drawInterpolation(context) {
    if (!state.showPath || !state.A || !state.B) return;
    this.outlined(context, () => {
      for (let step = 0; step <= 40; step++) context[step ? "lineTo" : "moveTo"](...this.toPixel(this.project(this.between(step / 40))));
    }, 1.5);
    for (const letter of ["A", "B"]) {
      const [x, y] = this.toPixel(this.project(this.posterior(state[letter]).mean));
      this.write(context, letter, x, y - 9 * this.ratio, { weight: "bold", size: 15 });
    }
  }

  drawPosterior(context, { mean, logVariance }) {  // its covariance in the plane is B diag(σ²) Bᵀ
    if (LATENTS === 1) return;
    const variance = logVariance.map(Math.exp);
    const cov = (a, b) => { let sum = 0; for (let k = 0; k < LATENTS; k++) sum += a[k] * b[k] * variance[k]; return sum; };
    const [xx, xy, yy] = [cov(this.basis[0], this.basis[0]), cov(this.basis[0], this.basis[1]), cov(this.basis[1], this.basis[1])];
    const [middle, spread] = [(xx + yy) / 2, Math.hypot((xx - yy) / 2, xy)];
    const [scale, [x, y]] = [this.size / (2 * this.frame.reach), this.toPixel(this.project(mean))];
    for (const sigma of [1, 2]) {
      this.outlined(context, () => context.ellipse(
        x, y, sigma * scale * Math.sqrt(middle + spread), sigma * scale * Math.sqrt(Math.max(0, middle - spread)),
        -0.5 * Math.atan2(2 * xy, xx - yy), 0, 7), 1.5);
    }
  }

  // --- latents made of others

  // z = μ + s σ ε of a subject, for each ε of the state.
  noisy(subject) {
    const { mean, logVariance } = this.posterior(subject);
    return state.noise.map((epsilon) => epsilon.map((value, k) => mean[k] + state.sigma * Math.exp(0.5 * logVariance[k]) * value));
  }

  between(share, path = state.path) {
    const [start, end] = [this.posterior(state.A).mean, this.posterior(state.B).mean];
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

  arithmetic() {  // A − B + C
    const [a, b, c] = ["A", "B", "C"].map((letter) => this.posterior(state[letter]).mean);
    return a.map((value, k) => value - b[k] + c[k]);
  }
}

// With one latent dimension there is only across: each class gets a lane of its own.
function lane(label) {
  const place = given.classes.findIndex((each) => each.number === label);
  return 2.5 - (5 * (place + 0.5)) / given.classes.length;
}

const axisName = (number) => (number < LATENTS ? latentName(number) : `principal direction ${number - LATENTS + 1}`);

// --- moving the point, the view and the choice -----------------------------------------------------------------

const moving = () => (state.sameZ ? views : [views[state.active]]);

function setZ(z, of = moving()) {
  for (const view of of) view.z = Float32Array.from(z);
  requestRedraw();
}

function move(view, u, v) {
  state.active = view.number;
  const z = view.moveTo(u, v);
  if (state.sameZ) setZ(z, views);
  requestRedraw();
}

// Look at an image, and send each model to its own posterior mean; with `sameZ` all to that of the model chosen in.
function choose(subject, view = views[state.active]) {
  state.active = view.number;
  Object.assign(state, { subject, hovered: null });
  if (subject.index !== null) give(given.labels[subject.index]);
  if (!state.freeze) drawNoise();
  for (const each of views) each.z = Float32Array.from((state.sameZ ? view : each).posterior(subject).mean);
  if (document.activeElement !== element("number") && subject.index !== null) element("number").value = subject.index;
  requestRedraw();
}

function hover(image) {
  if (image === state.hovered) return;
  state.hovered = image;
  requestRedraw();
}

function resetView() {  // all that is encoded
  const farthest = views.map((view) => view.points.reduce((most, value) => Math.max(most, Math.abs(value)), 3.2));
  const shared = { centre: [0, 0], reach: 1.05 * Math.max(...farthest) };
  views.forEach((view, number) => { view.frame = state.sameAxes ? shared : { centre: [0, 0], reach: 1.05 * farthest[number] }; });
}

function zoom(wanted, view = views[state.active], [u, v] = view.project(view.z)) {
  const { frame } = view;
  const reach = Math.min(1000, Math.max(0.2, frame.reach * wanted));
  const factor = reach / frame.reach;
  frame.reach = reach;
  frame.centre = [u + (frame.centre[0] - u) * factor, v + (frame.centre[1] - v) * factor];
  requestRedraw(true);
}

function follow({ frame }, place) {  // move what is shown where the point would leave it
  const before = frame.centre;
  frame.centre = before.map((centre, axis) => Math.min(place[axis] + 0.9 * frame.reach, Math.max(place[axis] - 0.9 * frame.reach, centre)));
  if (frame.centre.some((centre, axis) => centre !== before[axis])) requestRedraw(true);
}

// --- mouse, fingers and keys -----------------------------------------------------------------------------------

let dragging = false;
const HANDLE = 34;  // CSS pixels around the point within which a finger takes it; elsewhere it scrolls the page

function listen(view) {
  const { canvas } = view;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * view.ratio, (event.clientY - box.top) * view.ratio];
  };
  const nearPoint = (event) => {
    const [[x, y], [a, b]] = [place(event), view.toPixel(view.project(view.z))];
    return Math.hypot(x - a, y - b) < HANDLE * view.ratio;
  };
  const choosePlace = (event) => {
    const near = view.nearest(...place(event), 9 * view.ratio);
    if (near === null) move(view, ...view.fromPixel(...place(event)));
    else choose(testImage(near), view);
  };
  canvas.addEventListener("pointerdown", (event) => {
    state.active = view.number;
    if (event.pointerType === "touch") {  // a tap elsewhere is a click
      dragging = event.isPrimary && nearPoint(event);
    } else {
      dragging = true;
      canvas.setPointerCapture(event.pointerId);
      choosePlace(event);
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (dragging) move(view, ...view.fromPixel(...place(event)));
    else if (event.pointerType !== "touch") hover(view.nearest(...place(event), 9 * view.ratio));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { dragging = false; requestRedraw(); });
  canvas.addEventListener("click", (event) => { if (event.pointerType === "touch") choosePlace(event); });
  canvas.addEventListener("pointerleave", () => hover(null));
  listenToFingers(view, place, nearPoint);
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;  // the page scrolls
    event.preventDefault();
    zoom(Math.exp(event.deltaY / 500), view, view.fromPixel(...place(event)));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = view.frame.reach / (event.shiftKey ? 10 : 50);
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (by) {
      const [u, v] = view.project(view.z);
      move(view, u + by[0], v + by[1]);
      follow(view, [u + by[0], v + by[1]]);
    } else if (event.key === "Enter") choose(testImage(view.nearestImages(view.z, 1)[0]), view);
    else if (event.key === "+") zoom(1 / 1.25, view);
    else if (event.key === "-") zoom(1.25, view);
    else if (event.key === "0") setZ(new Float32Array(LATENTS), state.sameZ ? views : [view]);
    else return;
    event.preventDefault();
  });
}

function listenToFingers(view, place, nearPoint) {  // one takes the point or scrolls the page, two zoom
  let pinch = null;
  const apart = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  const middle = ([a, b]) => place({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 });
  view.canvas.addEventListener("touchstart", (event) => {
    if (event.touches.length === 2) {
      dragging = false;
      pinch = apart(event.touches);
      event.preventDefault();
    } else if (nearPoint(event.touches[0])) event.preventDefault();
  }, { passive: false });
  view.canvas.addEventListener("touchmove", (event) => {
    if (event.touches.length !== 2 || pinch === null) return;
    event.preventDefault();
    zoom(pinch / apart(event.touches), view, view.fromPixel(...middle(event.touches)));
    pinch = apart(event.touches);
  }, { passive: false });
  view.canvas.addEventListener("touchend", () => { pinch = null; });
}
