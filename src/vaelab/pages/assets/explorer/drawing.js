// Drawings and image files, brought into the form that the data has: what that form is, is measured on the test images.
// `ink` is 0 on the background and up to 1; rasters are {ink, width, height}.

const FAINT = 0.05;  // below it is background

// Sums over all rectangles from the corner, with which the mean of any rectangle is four look-ups.
function sums({ ink, width, height }) {
  const table = new Float64Array((width + 1) * (height + 1));
  for (let y = 0; y < height; y++) {
    let row = 0;
    for (let x = 0; x < width; x++) {
      row += ink[y * width + x];
      table[(y + 1) * (width + 1) + x + 1] = table[y * (width + 1) + x + 1] + row;
    }
  }
  const at = (x, y) => {  // bilinear between the corners of pixels
    const [a, b] = [Math.min(width, Math.max(0, x)), Math.min(height, Math.max(0, y))];
    const [left, top] = [Math.min(width - 1, Math.floor(a)), Math.min(height - 1, Math.floor(b))];
    const [p, q, row] = [a - left, b - top, width + 1];
    const place = top * row + left;
    return (1 - q) * ((1 - p) * table[place] + p * table[place + 1]) + q * ((1 - p) * table[place + row] + p * table[place + row + 1]);
  };
  return (left, top, right, bottom) => at(right, bottom) - at(left, bottom) - at(right, top) + at(left, top);
}

// The box of the ink, its total and its centre of mass, in pixels from the corner; null where there is none.
function extent({ ink, width, height }) {
  let [left, top, right, bottom, total, x, y] = [width, height, 0, 0, 0, 0, 0];
  ink.forEach((value, place) => {
    if (value <= FAINT) return;
    const [column, row] = [place % width, Math.floor(place / width)];
    [left, right, top, bottom] = [Math.min(left, column), Math.max(right, column + 1), Math.min(top, row), Math.max(bottom, row + 1)];
    total += value;
    x += value * (column + 0.5);
    y += value * (row + 0.5);
  });
  return total === 0 ? null : { left, top, right, bottom, side: Math.max(right - left, bottom - top), mass: [x / total, y / total],
                                box: [(left + right) / 2, (top + bottom) / 2] };
}

// About how wide its strokes are: of a line, twice its area over its edge.
function strokeWidth({ ink, width, height }) {
  const on = (x, y) => x >= 0 && y >= 0 && x < width && y < height && ink[y * width + x] > 0.5;
  let [area, edge] = [0, 0];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    if (!on(x, y)) continue;
    area += 1;
    edge += !on(x - 1, y) + !on(x + 1, y) + !on(x, y - 1) + !on(x, y + 1);
  }
  return edge ? (2 * area) / edge : 0;
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const deviation = (values) => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
};

// How the data's images are made: their background, how large what they show is, and what is at one place in all.
function measureForm() {
  const pixels = [...Array(Math.min(COUNT, 500)).keys()].map(grey);
  const edge = (_, place) => place < WIDTH || place >= PIXELS - WIDTH || place % WIDTH === 0 || place % WIDTH === WIDTH - 1;
  const light = median(pixels.flatMap((each) => [...each.filter(edge)])) > 0.5;
  const inks = pixels.map((each) => (light ? each.map((value) => 1 - value) : each));
  const rasters = inks.map((ink) => ({ ink, width: WIDTH, height: HEIGHT }));
  const found = rasters.map(extent).filter((each) => each !== null);
  if (!found.length) return { light, side: Math.min(WIDTH, HEIGHT), by: "box", at: [WIDTH / 2, HEIGHT / 2], level: 1, stroke: 2 };
  const varies = (by) => Math.max(deviation(found.map((each) => each[by][0])), deviation(found.map((each) => each[by][1])));
  const by = varies("mass") < varies("box") ? "mass" : "box";
  const strong = inks.flatMap((ink) => [...ink.filter((value) => value > 0.1)]).sort((a, b) => a - b);
  return {
    light, by, side: median(found.map((each) => each.side)), at: [0, 1].map((axis) => median(found.map((each) => each[by][axis]))),
    level: strong[Math.floor(0.9 * strong.length)], stroke: median(rasters.map(strokeWidth)),
  };
}

const asPixels = (ink) => (form.light ? ink.map((value) => 1 - value) : ink);

// Its box scaled to the data's size, keeping the aspect, and moved by whole pixels to where the data's is; anti-aliased.
function normalised(raster) {
  const found = extent(raster);
  const output = new Float32Array(PIXELS);
  if (found === null) return output;
  const mean = sums(raster);
  const scale = form.side / found.side;
  const [w, h] = [(found.right - found.left) * scale, (found.bottom - found.top) * scale];
  const start = (axis, size, corner, length) =>
    Math.min(Math.max(0, Math.floor(length - size)), Math.max(0, Math.round(form.at[axis] - (found[form.by][axis] - corner) * scale)));
  const [left, top] = [start(0, w, found.left, WIDTH), start(1, h, found.top, HEIGHT)];
  for (let row = 0; row < HEIGHT; row++) for (let column = 0; column < WIDTH; column++) {
    const [x, y] = [found.left + (column - left) / scale, found.top + (row - top) / scale];
    if (x + 1 / scale <= found.left || y + 1 / scale <= found.top || x >= found.right || y >= found.bottom) continue;
    output[row * WIDTH + column] = mean(x, y, x + 1 / scale, y + 1 / scale) * scale ** 2;
  }
  return output;
}

// --- drawings: strokes and fillings, kept as what was done, so that they can be drawn again at another size ---------

const FINE = 10;  // pixels of the canvas for one of the data

function drawnInk(actions, move = (point) => point) {
  const canvas = made("canvas", { width: FINE * WIDTH, height: FINE * HEIGHT });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.lineCap = context.lineJoin = "round";
  for (const { tool, width, points } of actions) {
    const places = points.map((point) => move(point).map((value) => FINE * value));
    if (tool === "fill") {
      fill(context, ...places[0].map(Math.floor));
      continue;
    }
    context.strokeStyle = tool === "erase" ? "#000000" : "#ffffff";
    context.lineWidth = FINE * width;
    context.beginPath();
    context.moveTo(...places[0]);
    for (const place of places.length > 1 ? places : [...places, places[0]]) context.lineTo(...place);
    context.stroke();
  }
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const ink = Float32Array.from({ length: canvas.width * canvas.height }, (_, place) => (form.level * data[4 * place]) / 255);
  return { ink, width: canvas.width, height: canvas.height };
}

function fill(context, x, y) {  // what is connected with that place and as light or dark
  const { width, height } = context.canvas;
  if (x < 0 || y < 0 || x >= width || y >= height) return;
  const image = context.getImageData(0, 0, width, height);
  const dark = image.data[4 * (y * width + x)] < 128;
  if (!dark) return;
  const left = [y * width + x];
  while (left.length) {
    const place = left.pop();
    if (image.data[4 * place] >= 255) continue;
    const edge = image.data[4 * place] >= 128;  // of a stroke: painted, but not crossed
    image.data[4 * place] = image.data[4 * place + 1] = image.data[4 * place + 2] = 255;
    if (edge) continue;
    const column = place % width;
    if (column > 0) left.push(place - 1);
    if (column < width - 1) left.push(place + 1);
    if (place >= width) left.push(place - width);
    if (place < width * (height - 1)) left.push(place + width);
  }
  context.putImageData(image, 0, 0);
}

// What was drawn, as large as the data and with strokes as wide as the brush is for it, however large it was drawn.
function drawnAsData(actions) {
  const points = actions.filter((each) => each.tool === "pen").flatMap((each) => each.points);
  if (!points.length) return new Float32Array(PIXELS);
  const width = Math.max(...actions.filter((each) => each.tool === "pen").map((each) => each.width));
  const [low, high] = [Math.min, Math.max].map((end) => [0, 1].map((axis) => end(...points.map((point) => point[axis]))));
  const side = Math.max(high[0] - low[0], high[1] - low[1]);
  const scale = side < 1 ? 1 : Math.max(1, form.side - width) / side;
  const middle = [WIDTH / 2, HEIGHT / 2];
  return normalised(drawnInk(actions, (point) => point.map((value, axis) => middle[axis] + (value - (low[axis] + high[axis]) / 2) * scale)));
}

function shrunk(raster) {  // as it is, to the data's pixels
  const mean = sums(raster);
  const [w, h] = [raster.width / WIDTH, raster.height / HEIGHT];
  return Float32Array.from({ length: PIXELS }, (_, place) => {
    const [x, y] = [(place % WIDTH) * w, Math.floor(place / WIDTH) * h];
    return mean(x, y, x + w, y + h) / (w * h);
  });
}

// --- image files: background and polarity are found, what differs from it is cut out ---------------------------------

const LARGEST = 400;  // pixels: photographs are made smaller

function otsu(values) {  // the threshold that separates two groups best (Otsu 1979)
  const bins = new Float64Array(256);
  for (const value of values) bins[Math.min(255, Math.floor(255 * value))] += 1 / values.length;
  const all = bins.reduce((sum, share, bin) => sum + share * bin, 0);
  let [best, threshold, below, sum] = [-1, 0, 0, 0];
  for (let bin = 0; bin < 255; bin++) {
    below += bins[bin];
    sum += bins[bin] * bin;
    if (below <= 0 || below >= 1) continue;
    const between = (all * below - sum) ** 2 / (below * (1 - below));
    if (between > best) [best, threshold] = [between, (bin + 1) / 255];
  }
  return threshold;
}

// A plane through the grey values around the edge, as a function of the place: least absolute deviations, so that a
// table's edge in the photograph counts little.
function surroundings({ ink: grey, width, height }) {
  const margin = Math.ceil(0.05 * Math.max(width, height));
  const atEdge = (x, y) => Math.min(x, y, width - 1 - x, height - 1 - y) < margin;
  const points = [...grey.keys()].map((k) => [(k % width) / width, Math.floor(k / width) / height, grey[k], k])
    .filter(([, , , k]) => atEdge(k % width, Math.floor(k / width)));
  let plane = [median(points.map(([, , value]) => value)), 0, 0];
  const at = (x, y) => plane[0] + plane[1] * x + plane[2] * y;
  for (let round = 0; round < 10; round++) {  // least squares, reweighted
    const rows = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]];
    for (const [x, y, value] of points) {
      const weight = 1 / Math.max(0.01, Math.abs(value - at(x, y)));
      const terms = [1, x, y, value];
      for (let row = 0; row < 3; row++) for (let column = 0; column < 4; column++) rows[row][column] += weight * terms[row] * terms[column];
    }
    for (let k = 0; k < 3; k++) for (let row = 0; row < 3; row++) {  // Gauss and Jordan
      if (row === k) continue;
      const factor = rows[row][k] / rows[k][k];
      rows[row] = rows[row].map((value, column) => value - factor * rows[k][column]);
    }
    const found = rows.map((row, k) => row[3] / row[k]);
    if (!found.every(Number.isFinite)) break;
    plane = found;
  }
  return (k) => at((k % width) / width, Math.floor(k / width) / height);
}

// The ink of a grey image. The background is what surrounds it, and may be lit unevenly.
function inkOf({ ink: grey, width, height }) {
  const around = surroundings({ ink: grey, width, height });
  let background = grey.map((_, k) => around(k));
  let [difference, threshold] = [null, 0];
  for (const last of [false, true]) {
    difference = grey.map((value, k) => Math.abs(value - background[k]));
    threshold = otsu(difference);
    if (last) break;
    const paper = difference.map((value) => (value < threshold ? 1 : 0));  // what is around each pixel and no ink
    const share = sums({ ink: paper, width, height });
    const total = sums({ ink: grey.map((value, k) => value * paper[k]), width, height });
    const reach = Math.max(width, height) / 6;
    background = background.map((_, k) => {
      const [x, y] = [k % width, Math.floor(k / width)];
      const box = [x - reach, y - reach, x + reach, y + reach];
      return share(...box) > reach ? total(...box) / share(...box) : around(k);
    });
  }
  const signed = grey.map((value, k) => value - background[k]);
  const dark = signed.reduce((sum, value, k) => sum + (difference[k] > threshold ? value : 0), 0) < 0;
  const own = signed.map((value) => Math.max(0, dark ? -value : value));
  const kept = withoutSpecks(own.map((value) => (value > threshold / 2 ? value : 0)), width, height);
  const strong = kept.filter((value) => value > threshold).sort();
  const full = strong.length ? strong[Math.floor(0.9 * strong.length)] : 1;
  return { raster: { ink: kept.map((value) => Math.min(1, (form.level * value) / full)), width, height }, dark };
}

// Without parts that are small beside the largest one, and without those at the edge where there are others: a
// shadow, the end of the table.
function withoutSpecks(ink, width, height) {
  const part = new Int32Array(ink.length);
  const parts = [];
  for (let start = 0; start < ink.length; start++) {
    if (ink[start] === 0 || part[start]) continue;
    const found = { number: parts.length + 1, area: 0, atEdge: false };
    const left = [start];
    part[start] = found.number;
    while (left.length) {
      const place = left.pop();
      const [x, y] = [place % width, Math.floor(place / width)];
      found.area += 1;
      found.atEdge ||= x === 0 || y === 0 || x === width - 1 || y === height - 1;
      for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) {
        const [a, b] = [x + dx, y + dy];
        if (a < 0 || b < 0 || a >= width || b >= height) continue;
        const next = b * width + a;
        if (ink[next] > 0 && !part[next]) { part[next] = found.number; left.push(next); }
      }
    }
    parts.push(found);
  }
  const largest = Math.max(0, ...parts.map((each) => each.area));
  const inside = parts.filter((each) => !each.atEdge && each.area > 0.02 * largest);
  const kept = new Set((inside.length ? inside : parts).filter((each, _, all) => each.area > 0.05 * Math.max(...all.map((other) => other.area))).map((each) => each.number));
  return ink.map((value, place) => (kept.has(part[place]) ? value : 0));
}

// Strokes that would be much thinner than the data's, widened: a pen's on paper.
function widened(raster) {
  const found = extent(raster);
  if (found === null || form.stroke > 3) return raster;  // clothes have no strokes
  const scale = found.side / form.side;
  const more = Math.round((form.stroke * scale - strokeWidth(raster)) / 2);
  if (more < 1) return raster;
  const { ink, width, height } = raster;
  const wide = { ink: new Float32Array((width + 2 * more) * (height + 2 * more)), width: width + 2 * more, height: height + 2 * more };
  ink.forEach((value, place) => {
    if (value === 0) return;
    const [x, y] = [place % width + more, Math.floor(place / width) + more];
    for (let dy = -more; dy <= more; dy++) for (let dx = -more; dx <= more; dx++) {
      if (dx * dx + dy * dy > more * more) continue;
      const other = (y + dy) * wide.width + x + dx;
      if (wide.ink[other] < value) wide.ink[other] = value;
    }
  });
  return wide;
}

async function pixelsOf(file) {  // grey values of a file, on white where it is transparent
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try { await image.decode(); } finally { URL.revokeObjectURL(image.src); }
  const [width, height] = [image.naturalWidth || 100, image.naturalHeight || 100];
  const scale = Math.min(1, LARGEST / Math.max(width, height));
  const canvas = made("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const ink = Float32Array.from({ length: data.length / 4 }, (_, k) => (0.299 * data[4 * k] + 0.587 * data[4 * k + 1] + 0.114 * data[4 * k + 2]) / 255);
  return { ink, width: canvas.width, height: canvas.height };
}

// --- the pad -----------------------------------------------------------------------------------------------------------

let form = null;
const pad = { canvas: null, actions: [], pasted: null, tool: "pen", seen: null, cursor: [WIDTH / 2, HEIGHT / 2], pen: false };

function subjectDrawn() {
  const raw = pad.pasted ?? (element("normalise").checked ? drawnAsData(pad.actions) : shrunk(drawnInk(pad.actions)));
  return { index: null, pixels: asPixels(raw), name: "drawing", text: pad.pasted ? "image file" : "drawing", empty: !raw.some((value) => value > FAINT) };
}

function showPad() {
  const { canvas } = pad;
  const context = canvas.getContext("2d");
  const raster = pad.pasted ? { ink: pad.pasted, width: WIDTH, height: HEIGHT } : drawnInk(pad.actions);
  const small = made("canvas", { width: raster.width, height: raster.height });
  const data = new ImageData(raster.width, raster.height);
  asPixels(raster.ink).forEach((value, place) => { data.data.set([255 * value, 255 * value, 255 * value, 255], 4 * place); });
  small.getContext("2d").putImageData(data, 0, 0);
  context.imageSmoothingEnabled = !pad.pasted;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  if (document.activeElement === canvas && canvas.matches(":focus-visible")) {  // where the keys draw
    context.strokeStyle = pad.pen ? "#e76300" : "#3f90da";
    context.lineWidth = 2;
    context.beginPath();
    context.arc(FINE * pad.cursor[0], FINE * pad.cursor[1], 8, 0, 7);
    context.stroke();
  }
}

function drawingChanged() {
  showPad();
  const subject = subjectDrawn();
  paint(pad.seen.canvas, subject.pixels);
  if (!subject.empty) choose(subject);
}

function act(tool, points) {
  pad.pasted = null;
  pad.actions.push({ tool, width: Number(element("brush").value), points });
}

function clearPad() {
  Object.assign(pad, { actions: [], pasted: null });
  element("message").textContent = "";
  drawingChanged();
  if (state.subject.index === null) choose(testImage(Number(element("number").value)));
}

async function readFile(file) {
  const say = (text) => { element("message").textContent = text; };
  let pixels = null;
  try {
    pixels = await pixelsOf(file);
  } catch {
    return say(`${file.name} is not an image that this browser can read.`);
  }
  const { raster, dark } = inkOf(pixels);
  const pasted = normalised(widened(raster));
  if (!pasted.some((value) => value > FAINT)) return say(`${file.name} contains nothing that differs from its background.`);
  Object.assign(pad, { actions: [], pasted });
  const inverted = dark !== form.light;
  say(`${file.name}: cut out of its ${dark ? "light" : "dark"} background${inverted ? ", inverted" : ""}, and scaled like the data.`);
  drawingChanged();
}

function listenToPad() {
  const { canvas } = pad;
  let points = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * WIDTH, ((event.clientY - box.top) / box.height) * HEIGHT];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    points = [place(event)];
    act(pad.tool, points);
    drawingChanged();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!points || pad.tool === "fill") return;
    points.push(place(event));
    drawingChanged();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { points = null; });
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (by) {
      pad.cursor = [Math.min(WIDTH, Math.max(0, pad.cursor[0] + by[0])), Math.min(HEIGHT, Math.max(0, pad.cursor[1] + by[1]))];
      if (pad.pen) pad.actions.at(-1).points.push(pad.cursor);
    } else if (event.key === " ") {
      pad.pen = !pad.pen && pad.tool !== "fill";
      if (pad.pen || pad.tool === "fill") act(pad.tool, [pad.cursor]);
    } else return;
    event.preventDefault();
    if (pad.pen || pad.tool === "fill") drawingChanged();
    else showPad();
  });
  for (const change of ["focus", "blur"]) canvas.addEventListener(change, () => { pad.pen = false; showPad(); });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {  // beside the pad too: the browser would open the file instead of the page
    event.preventDefault();
    if (event.dataTransfer.files[0]) readFile(event.dataTransfer.files[0]);
  });
  element("file").addEventListener("change", (event) => {
    if (event.target.files[0]) readFile(event.target.files[0]);
    event.target.value = "";
  });
  element("clear").addEventListener("click", clearPad);
  element("normalise").addEventListener("change", drawingChanged);
  for (const choice of document.querySelectorAll('input[name="tool"]')) choice.addEventListener("change", () => { pad.tool = choice.value; });
}

function startPad() {
  form = measureForm();
  pad.canvas = element("pad");
  Object.assign(pad.canvas, { width: FINE * WIDTH, height: FINE * HEIGHT });
  pad.seen = tile(element("seen"), "as encoded", "The drawing as it is encoded");
  element("brush").value = Math.min(6, Math.max(1, form.stroke * 1.25)).toFixed(1);
  const [x, y] = form.at.map((value) => shown(value - 0.5, 0));
  element("form").textContent = `like the data: longest side ${shown(form.side, 0)} px, ${form.by === "mass" ? "centre of mass" : "middle"} at (${x}, ${y})`;
  listenToPad();
  showPad();
  paint(pad.seen.canvas, asPixels(new Float32Array(PIXELS)));
}
