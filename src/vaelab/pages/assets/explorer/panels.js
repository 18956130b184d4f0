// What stands beside and below the planes: readings, nearest images, noise, dimensions, interpolation, arithmetic.

const named = (view) => (views.length > 1 ? `${view.model.name}: ` : "");

// --- what the point is -------------------------------------------------------------------------------------------

const coordinates = (view, z) => {
  if (LATENTS <= 4) return [...z].map((value, k) => `${latentName(k)} = ${shown(value)}`).join(", ");
  return view.project(z).map((value, axis) => `${axisName(state.axes[axis])} ${shown(value)}`).join(", ");
};

function whereIs(view) {  // relative to the prior, and to the images' posteriors
  const length = Math.hypot(...view.z);
  const most = Math.sqrt(given.covered.square);
  const far = length > most ? `beyond 95 % of prior draws (${shown(most)})` : `in the ${length > given.median ? "outer" : "inner"} half of prior draws`;
  let [covering, least] = [0, Infinity];
  for (let image = 0; image < COUNT; image++) {
    const square = view.standardised(view.z, image, Math.max(least, given.covered.square));
    if (square <= given.covered.square) covering += 1;
    least = Math.min(least, square);
  }
  const cover = covering ? `Covered: inside the 95 % region of ${whole(covering)} of ${whole(COUNT)} posteriors.`
    : `Hole: outside the 95 % region of all ${whole(COUNT)} posteriors; the nearest is ${shown(Math.sqrt(least), 1)} σ away.`;
  return { hole: covering === 0, cover, far: `|z| = ${shown(length)}: ${far}.` };
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const klOf = ({ mean, logVariance }) => 0.5 * sum([...mean].map((value, k) => value ** 2 + Math.exp(logVariance[k]) - 1 - logVariance[k]));

function showReadings() {
  const subject = subjectShown();
  paint(imageTile.canvas, subject.pixels);
  imageTile.text.textContent = subject.text;
  for (const view of views) {
    const posterior = view.posterior(subject);
    const [bits, least] = givenItsOwn(subject, () => {
      paint(view.reconstruction, view.network.decode(posterior.mean));
      return [view.z, posterior.mean].map((z) => view.network.reconstruction(subject.pixels, z));
    });
    const where = whereIs(view);
    view.where = where;
    const line = (text, className = "") => made("p", { textContent: text, className });
    view.reading.replaceChildren(
      line(coordinates(view, view.z), "where"),
      line(where.far),
      line(where.cover, where.hole ? "hole" : "covered"),
      line(`−log ${likelihoodOf(view)} of the image: ${shown(bits, 1)} nats here, ${shown(least, 1)} nats at its posterior mean. `
           + `KL of its posterior: ${shown(klOf(posterior), 1)} nats.`),
    );
  }
}

const NEAREST = 6;
function showNearest() {
  for (const view of views) {
    const found = view.nearestImages(view.z, NEAREST);
    if (view.nearShown?.join() === found.join() && view.nearEpoch === view.epoch) continue;
    Object.assign(view, { nearShown: found, nearEpoch: view.epoch });
    const votes = {};
    for (const image of found) votes[given.labels[image]] = (votes[given.labels[image]] ?? 0) + 1;
    const most = Math.max(...Object.values(votes));  // of all classes that have as many
    const labels = Object.keys(votes).filter((label) => votes[label] === most);
    view.nearText.textContent = `Nearest test images: ${labels.length > 1 ? `${most} each` : most} of ${found.length} are of ${labels.map(ofClass).join(" and ")}.`;
    while (view.near.children.length < found.length) {
      const button = made("button", { type: "button", className: "thumb" }, newImage(""));
      button.addEventListener("click", () => choose(testImage(Number(button.dataset.image)), view));
      view.near.append(button);
    }
    found.forEach((image, place) => {
      const button = view.near.children[place];
      button.dataset.image = image;
      button.setAttribute("aria-label", testImage(image).text);
      button.title = testImage(image).text;
      button.style.borderColor = classColour(given.labels[image]);
      paint(button.firstChild, grey(image));
    });
  }
}

function announce() {
  const text = views.map((view) => {
    return `${named(view)}${coordinates(view, view.z)}. ${view.where.cover} ${view.nearText.textContent}`;
  }).join(" ");
  if (element("announce").textContent !== text) element("announce").textContent = text;
}

// --- the posterior's noise -----------------------------------------------------------------------------------------

const DRAWS = 8;
function drawNoise() {
  state.noise = Array.from({ length: DRAWS }, () => normal(random));
}

function showNoise() {
  if (!isOpen("noise-panel")) return;
  const subject = subjectShown();
  element("sigma-now").textContent = `${shown(state.sigma, 1)} σ`;
  for (const view of views) {
    view.noiseStrip ??= strip("noise", view, `z = μ, then ${DRAWS} draws`, DRAWS + 1);
    const { mean } = view.posterior(subject);
    const draws = view.noisy(subject);
    const [at, ...costs] = givenItsOwn(subject, () => [mean, ...draws].map((z, column) => {
      paint(view.noiseStrip.canvas, view.network.decode(z), column);
      return view.network.reconstruction(subject.pixels, z);
    }));
    const noisy = average(costs);
    view.noiseStrip.text.textContent = `${named(view)}−log ${likelihoodOf(view)} of ${subject.text} is ${shown(at, 1)} nats at μ and ${shown(noisy, 1)} `
      + `on average over the draws: the noise adds ${shown(noisy - at, 1)} nats.`;
  }
}

// A row of images with a caption, of one model; a click on one calls `pick` with its column.
function strip(id, view, label, columns, rows = 1) {
  const canvas = newImage(`${view.model.name}: ${label}`, columns, rows);
  const text = made("p", { className: "small" });
  element(id).append(made("div", { className: "strip" }, text, canvas));
  return { canvas, text };
}

const isOpen = (id) => element(id).open;

// --- dimensions: a slider each, above what changing it alone does --------------------------------------------------

const STEPS = 9;
let dimensions = [];
function fillDimensions() {
  element("dimensions").replaceChildren();
  dimensions = [...Array(LATENTS).keys()].map((dimension) => {
    const name = made("span");
    const slider = made("input", { type: "range", step: "any", "aria-label": latentName(dimension) });
    const output = made("output");
    const strips = views.map((view) => {
      const canvas = newImage(`${latentName(dimension)} from −3 to 3, all other dimensions fixed, decoded by ${view.model.name}`, STEPS);
      canvas.addEventListener("click", (event) => {
        const step = Math.floor((event.offsetX / canvas.clientWidth) * STEPS);
        state.active = view.number;
        setDimension(dimension, traversed(step));
      });
      return canvas;
    });
    slider.addEventListener("input", () => setDimension(dimension, Number(slider.value)));
    const row = made("div", { className: "dimension" }, name, slider, output, made("div", { className: "strips" }, ...strips));
    return { dimension, name, slider, output, strips, row };
  });
}

const traversed = (step) => -3 + (6 * step) / (STEPS - 1);

function setDimension(dimension, value) {
  for (const view of moving()) view.z[dimension] = value;
  requestRedraw();
}

// In the order of their KL; of two models, of the smaller one, so that the first are collapsed in neither.
function orderDimensions() {
  const least = (k) => Math.min(...views.map((view) => view.kl[k]));
  dimensions.sort((a, b) => least(b.dimension) - least(a.dimension));
  for (const { dimension, name, row } of dimensions) {
    const collapsed = views.filter((view) => view.collapsed(dimension));
    const which = collapsed.length === views.length ? "" : ` in ${collapsed.map((view) => view.model.name).join(", ")}`;
    name.textContent = `${latentName(dimension)}, KL ${views.map((view) => view.kl[dimension].toFixed(2)).join(" | ")}${collapsed.length ? `, collapsed${which}` : ""}`;
    row.classList.toggle("collapsed", collapsed.length > 0);
    element("dimensions").append(row);
  }
  const active = views.map((view) => view.spread.filter((spread) => spread ** 2 > given.collapsed.variance).length);
  const anyCollapsed = views.some((view) => view.kl.some((_, k) => view.collapsed(k)));
  element("dimensions-say").textContent = `Sorted by their KL in nats, averaged over the ${whole(COUNT)} images here. `
    + views.map((view, number) => `${named(view)}${active[number]} of ${counted(LATENTS, "dimension")} `
      + `${active[number] === 1 ? "is" : "are"} active: the posterior mean differs from image to image`).join("; ")
    + (anyCollapsed ? "; along a collapsed one the decoded image stays the same." : ".");
}

function showDimensions() {
  if (!isOpen("dimensions-panel")) return;
  for (const { dimension, slider, output } of dimensions) {
    const values = views.map((view) => view.z[dimension]);
    const reach = Math.max(4, ...views.map((view) => view.frame.reach), ...values.map(Math.abs));
    slider.min = -reach;
    slider.max = reach;
    if (document.activeElement !== slider) slider.value = values[state.active];
    output.textContent = [...new Set(values.map((value) => shown(value)))].join(" | ");
  }
}

let traversals = 0;
async function showTraversals() {  // a dimension at a time, so that the page answers meanwhile
  const own = ++traversals;
  if (!isOpen("dimensions-panel")) return;
  for (const { dimension, strips } of dimensions) {
    for (const view of views) {
      const z = view.z.slice();
      for (let step = 0; step < STEPS; step++) {
        z[dimension] = traversed(step);
        paint(strips[view.number], view.network.decode(z), step);
      }
    }
    await later();
    if (own !== traversals) return;  // the point has moved on
  }
}

// --- between A and B, and A − B + C ----------------------------------------------------------------------------------

const BETWEEN = 11;
const LETTERS = ["A", "B", "C"];

function setLetter(letter, subject) {
  state[letter] = subject;
  showPairs();
  requestRedraw();
}

function showPairs() {
  if (!isOpen("between-panel") && !isOpen("arithmetic-panel")) return;
  for (const place of document.querySelectorAll("[data-letter]")) {
    const subject = state[place.dataset.letter];
    if (!place.firstChild) place.append(newImage(place.dataset.letter));
    place.firstChild.setAttribute("aria-label", `${place.dataset.letter}: ${subject.text}`);
    paint(place.firstChild, subject.pixels);
  }
  for (const view of views) {
    if (isOpen("between-panel")) showBetween(view);
    if (isOpen("arithmetic-panel")) showArithmetic(view);
  }
}

function showBetween(view) {
  view.betweenStrip ??= strip("betweens", view, "between A and B, on a straight line above and a great circle below", BETWEEN, 2);
  const shares = [...Array(BETWEEN).keys()].map((step) => step / (BETWEEN - 1));
  const paths = ["linear", "spherical"].map((path) => shares.map((share) => view.between(share, path)));
  paths.forEach((line, row) => line.forEach((z, column) => paint(view.betweenStrip.canvas, view.network.decode(z), column, row)));
  const holes = paths.map((line) => line.filter((z) => view.isHole(z)).length);
  view.betweenStrip.text.textContent = `${named(view)}Straight line above, great circle below. Of ${BETWEEN} points on each, `
    + `${holes[0]} on the line and ${holes[1]} on the circle are in holes.`;
}

function showArithmetic(view) {
  view.sum ??= strip("sums", view, "A, B, C and A − B + C, decoded", 4);
  const z = view.arithmetic();
  const latents = [...LETTERS.map((letter) => view.posterior(state[letter]).mean), z];
  latents.forEach((each, column) => paint(view.sum.canvas, view.network.decode(each), column));
  const found = view.nearestImages(z, 1)[0];
  view.sum.text.textContent = `${named(view)}A, B, C, and A − B + C decoded. The nearest test image is of ${ofClass(given.labels[found])}`
    + `${view.isHole(z) ? "; the sum lies in a hole" : ""}.`;
}

function interpolate() {
  element("share-now").textContent = percent(state.share);
  state.showPath = true;
  for (const view of views) view.z = Float32Array.from(view.between(state.share));
  requestRedraw();
}
