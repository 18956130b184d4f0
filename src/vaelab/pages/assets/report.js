// Reports of runs and of comparisons: charts, the epochs, figures to enlarge, groups of a table that fold.

const INTEGER = 32767;  // pages/epochs.py
const SVG = "http://www.w3.org/2000/svg";
const learned = dataOf("learned") ?? [];  // of each family of models its curves and, at some epochs, images and latents
const rates = dataOf("rates");            // of each family, rate against distortion
const numbers = (count) => Array.from({ length: count }, (_, place) => place);
const panelsOf = ({ epochs }) => Object.values(epochs?.kinds ?? {}).flat();
const lastEpoch = Math.max(1, ...learned.flatMap((family) => [...family.curves.flatMap((spec) => spec.ticks), ...panelsOf(family).flatMap((panel) => panel.epochs)]));
let epoch = lastEpoch;

const number = (value) => (value === null || value === undefined) ? "–" : typographic(value.toLocaleString("en", {
  minimumFractionDigits: Math.abs(value) < 10 ? 3 : 2, maximumFractionDigits: Math.abs(value) < 10 ? 3 : 2 }));

// --- charts: SVG in the style sheet's colours, so that a dark page and paper need no other drawing ---------------

async function loadPlot() {
  for (const block of document.querySelectorAll("script.library")) {
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await unpack(block.textContent.trim()));
    document.head.append(script);
  }
}

// Marks of one model carry its number: what is under the pointer is highlighted everywhere.
function ofModel(model) {
  return {
    render: (index, scales, values, dimensions, context, next) => {
      const drawn = next(index, scales, values, dimensions, context);
      if (drawn && model !== undefined) drawn.dataset.model = model;
      return drawn;
    },
  };
}

const plain = (value) => typographic(Number(value.toPrecision(6)));

function curvesPlot(spec, width) {
  const last = spec.ticks.at(-1);
  const line = ({ values, low, high }) => values.map((y, place) => ({ epoch: place + 1, y, low: low?.[place], high: high?.[place] }));
  const marks = spec.series.flatMap((series) => {
    const rows = line(series);
    const look = { stroke: `var(--series-${series.colour})`, clip: true, ...ofModel(series.model) };
    return [
      series.low && Plot.areaY(rows.filter((row) => row.low !== null), { x: "epoch", y1: "low", y2: "high", ...look, stroke: "none", fill: look.stroke, fillOpacity: 0.18 }),
      Plot.lineY(rows, { x: "epoch", y: "y", ...look, stroke: "transparent", strokeWidth: 14 }),
      Plot.lineY(rows, { x: "epoch", y: "y", ...look, strokeWidth: 2, strokeDasharray: series.dash }),
      (last < 40 && !series.low || last === 1) && Plot.dot(rows, { x: "epoch", y: "y", ...look, fill: look.stroke, r: last === 1 ? 4 : 2.2 }),
    ];
  });
  const under = numbers(last).map((place) => ({
    epoch: place + 1,
    y: spec.series.map((series) => series.values[place]).find((value) => value !== null && value !== undefined),
    title: [`epoch ${place + 1}`, ...spec.series.map((series) => `${series.name}: ${number(series.values[place])}`)].join("\n"),
  })).filter((row) => row.y !== undefined);
  const { domain, ticks } = spec.vertical;
  return Plot.plot({
    width, height: 270, style: { fontSize: "12px" }, marginLeft: 54, marginRight: 16, marginBottom: 38, marginTop: 24,
    x: { domain: last === 1 ? [0.5, 1.5] : [1, last], inset: 4 },  // the first and the last dot are whole
    y: { domain, type: ticks ? "log" : "linear", nice: !domain },
    marks: [
      Plot.gridY({ ticks, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.axisX(spec.ticks, { tickFormat: String, label: "epoch", labelAnchor: "center", labelArrow: "none" }),
      Plot.axisY({ ticks: ticks ?? 6, tickFormat: plain, label: spec.unit + (ticks ? ", logarithmic" : ""), labelArrow: "none" }),
      ...marks.filter(Boolean),
      Plot.tip(under, Plot.pointerX({ x: "epoch", y: "y", title: "title", fill: "var(--raised)", stroke: "var(--line)" })),
    ],
  });
}

// A line at the epoch of the slider; a click on an epoch moves the slider.
function withEpoch(plot) {
  const x = plot.scale("x");
  const [top, bottom] = plot.scale("y").range.toSorted((a, b) => a - b);
  const cursor = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ y1: top, y2: bottom, class: "cursor" })) cursor.setAttribute(name, value);
  plot.append(cursor);
  plot.showEpoch = () => {
    cursor.setAttribute("x1", x.apply(epoch));
    cursor.setAttribute("x2", x.apply(epoch));
  };
  plot.showEpoch();
  plot.addEventListener("click", (event) => {
    const at = (event.clientX - plot.getBoundingClientRect().left) * plot.viewBox.baseVal.width / plot.getBoundingClientRect().width;
    setEpoch(Math.round(x.invert(at)));
  });
  return plot;
}

function ratePlot(spec, width) {
  const names = spec.points.map((point) => ({ ...point, place: null }));
  const draw = () => Plot.plot({
    width, height: Math.min(440, Math.max(300, 0.5 * width)), style: { fontSize: "12.5px" }, marginLeft: 60, marginBottom: 44, marginTop: 28, marginRight: 20,
    x: { domain: spec.x.domain, type: spec.x.ticks ? "log" : "linear" },
    y: { domain: spec.y.domain },
    marks: [
      Plot.gridX({ ticks: spec.x.ticks, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.axisX({ ticks: spec.x.ticks, tickFormat: plain, label: spec.x.label, labelAnchor: width < 500 ? "right" : "center", labelArrow: "none" }),
      Plot.axisY({ tickFormat: plain, label: spec.y.label, labelArrow: "none" }),
      Plot.line(spec.frontier, { stroke: "var(--soft)", strokeWidth: 1 }),
      ...(spec.collapse === null ? [] : [
        Plot.rectX([spec.collapse], { x1: spec.x.domain[0], x2: spec.collapse, fill: "var(--soft)", fillOpacity: 0.1 }),
        Plot.text(["posterior collapse: inactive units"], { x: () => spec.x.domain[0], frameAnchor: "bottom", textAnchor: "start", dx: 6, dy: -6, fontSize: 12, fill: "var(--soft)" }),
      ]),
      ...names.flatMap((point) => {
        const colour = `var(--series-${point.colour})`;
        const of = ofModel(point.model);
        return [
          Plot.link([point].filter((each) => each.intervals), { x1: (each) => each.intervals[0][0], x2: (each) => each.intervals[0][1], y1: "y", y2: "y", stroke: colour, clip: true, ...of }),
          Plot.link([point].filter((each) => each.intervals), { x1: "x", x2: "x", y1: (each) => each.intervals[1][0], y2: (each) => each.intervals[1][1], stroke: colour, ...of }),
          Plot.dot(point.seeds, { x: "x", y: "y", r: 3, fill: colour, fillOpacity: 0.65, title: "title", ...of }),
          Plot.dot([point], { x: "x", y: "y", r: 6, fill: colour, stroke: "var(--paper)", symbol: () => point.symbol, title: (each) => `${each.name}: rate ${number(each.x)}, distortion ${number(each.y)} nats${each.units}`, ...of }),
          Plot.link([point].filter((each) => each.place?.far), { x1: "x", y1: "y", x2: (each) => each.place.x, y2: (each) => each.place.y, stroke: "var(--soft)", ...of }),
          Plot.text([point].filter((each) => each.place), { ...point.place, text: "name", fontSize: 13, stroke: "var(--paper)", strokeWidth: 4, fill: "var(--ink)", ...of }),
        ];
      }),
    ],
    symbol: { type: "identity" },
  });
  placeNames(names, draw(), width);
  const unnamed = names.filter((each) => !each.place).sort((a, b) => a.x - b.x).map((each) => each.name);
  return Object.assign(draw(), { note: unnamed.length ? `Points without a name, from left to right: ${unnamed.join("; ")}.` : "" });
}

// Beside each point, where the name covers nothing and is nearest to its own point; else it has none there.
function placeNames(names, plot, width) {
  const [x, y] = [plot.scale("x"), plot.scale("y")];
  const [bottom, top] = y.range;
  const centres = names.map((each) => [x.apply(each.x), y.apply(each.y)]);
  const taken = centres.map(([across, down]) => [across - 8, down - 8, across + 8, down + 8]);
  const overlaps = (box) => taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]);
  const distance = (box, [across, down]) => Math.hypot(Math.max(box[0] - across, 0, across - box[2]), Math.max(box[1] - down, 0, down - box[3]));
  names.forEach((each, own) => {
    const long = 7.6 * each.name.length;
    const [across, down] = centres[own];
    for (const far of [9, 20, 34, 50]) for (const [right, low] of [[1, -1], [1, 1], [-1, -1], [-1, 1], [0, -1.8], [0, 1.8]]) {
      const [left, middle] = [across + right * far + long * (right - 1) / 2, down + low * far];
      const box = [left, middle - 9, left + long, middle + 9];
      const nearest = centres.every((other) => distance(box, other) >= distance(box, centres[own]));
      if (each.place || box[0] < 62 || box[2] > width - 4 || box[1] < top || box[3] > bottom || overlaps(box) || !nearest) continue;
      taken.push(box);
      each.place = { x: x.invert(across + right * far), y: y.invert(middle), textAnchor: ["end", "middle", "start"][right + 1], far: far >= 20 };
    }
  });
}

function drawChart(place) {
  const width = Math.round(place.clientWidth);
  if (!globalThis.Plot || !width || Number(place.dataset.width) === width) return;  // folded away, or as wide as before
  place.dataset.width = width;
  const [family, chart] = (place.dataset.curves ?? "").split(" ");
  const spec = chart ? learned[family].curves[chart] : rates[place.dataset.rate];
  const drawn = chart ? withEpoch(curvesPlot(spec, width)) : ratePlot(spec, width);
  drawn.querySelectorAll("[aria-label]").forEach((each) => each.removeAttribute("aria-label"));  // one for the whole
  drawn.setAttribute("role", "img");
  drawn.setAttribute("aria-label", spec.alt);
  place.replaceChildren(drawn, ...(drawn.note ? [made("p", { className: "small soft", textContent: drawn.note })] : []));
}

const allCharts = document.querySelectorAll(".chart");

// --- the epochs: one slider moves curves' cursors, values, latents and images -------------------------------------

function setEpoch(value) {
  epoch = Math.min(lastEpoch, Math.max(1, value));
  const slider = document.getElementById("epoch");
  slider.value = epoch;
  slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
  document.getElementById("epoch-now").textContent = `epoch ${epoch} of ${lastEpoch}`;
  document.querySelectorAll(".chart svg").forEach((plot) => plot.showEpoch?.());
  document.querySelectorAll("[data-curve]").forEach((cell) => {
    const [family, chart, series] = cell.dataset.curve.split(" ");
    cell.textContent = number(learned[family].curves[chart].series[series]?.values[epoch - 1]);
  });
  panels.forEach((panel) => panel.show());
}

// The epoch of a panel's own that is shown: the last one that is not later, or its first.
function placeOf(panel) {
  return Math.max(0, panel.epochs.findLastIndex((each) => each <= epoch));
}

const panels = [];

// An evaluation is of the last epoch: what it concludes is said there.
function captionOf(shown, kind, panel, many) {
  const own = panel.epochs[placeOf(panel)];
  const said = !many && epoch === lastEpoch && shown.conclusions?.[kind];
  return `${many ? panel.name : KINDS[kind]}${own === epoch ? "" : `, epoch ${own}`}${said ? `. ${said}` : ""}`;
}

function imagesPanel(shown, kind, panel, many) {
  const image = made("img", { className: panel.pixels ? "pixels" : "", width: panel.width, height: panel.height });
  const caption = made("figcaption");
  const show = () => {
    const place = placeOf(panel);
    image.src = panel.images[place];
    image.alt = `${KINDS[kind]}${many ? `, ${panel.name}` : ""}, epoch ${panel.epochs[place]}`;
    caption.textContent = captionOf(shown, kind, panel, many);
  };
  return { element: made("figure", many ? { "data-model": panel.model } : {}, image, caption), show };
}

function unpackIntegers(text, scale) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return Float32Array.from(new Int16Array(bytes.buffer), (value) => value * scale / INTEGER);
}

function latentPanel(shown, panel, many) {
  const canvas = made("canvas", { role: "img", width: 720, height: 720 });
  const caption = made("figcaption");
  const points = panel.points.map((text) => unpackIntegers(text, panel.scale));
  const place = new Map(shown.classes.map(({ number }, index) => [number, index]));
  const limit = () => document.getElementById(`own-axes-${shown.own}`)?.checked ? panel.limit : shown.limit;
  const toCanvas = (value, down) => 360 + (down ? -1 : 1) * value / limit() * 330;
  const draw = () => {
    const context = canvas.getContext("2d");
    const at = points[placeOf(panel)];
    const colours = shown.classes.map(({ colours }) => colours[onDark() ? 1 : 0]);
    caption.textContent = captionOf(shown, "latent", panel, many);
    context.clearRect(0, 0, 720, 720);
    axes(context, panel, limit(), toCanvas);
    const dots = (chosen, radius, edge) => chosen.forEach((index) => {
      context.beginPath();
      context.arc(toCanvas(at[2 * index]), toCanvas(at[2 * index + 1], true), radius, 0, 7);
      context.fillStyle = colours[place.get(shown.labels[index])];
      context.fill();
      if (edge) { context.lineWidth = 4; context.strokeStyle = colour("--ink"); context.stroke(); }
    });
    const visible = numbers(shown.labels.length).filter((index) => !shown.hidden.has(shown.labels[index]));
    context.save();
    context.beginPath();
    context.rect(30, 30, 660, 660);
    context.clip();  // what the axes don't hold is not drawn beside them
    context.globalAlpha = 0.75;
    dots(visible, 4.2);
    context.globalAlpha = 1;
    if (shown.hovered !== null) dots([shown.hovered], 11, true);
    context.restore();
    canvas.setAttribute("aria-label", `${KINDS.latent}${many ? ` of ${panel.name}` : ""}, epoch ${panel.epochs[placeOf(panel)]}: ` +
      `posterior means of ${shown.labels.length} images by class, axes from −${plain(limit())} to ${plain(limit())}`);
  };
  const nearest = (event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) * 720 / box.width, (event.clientY - box.top) * 720 / box.height];
    const at = points[placeOf(panel)];
    let [found, least] = [null, 30 ** 2];
    shown.labels.forEach((label, index) => {
      const far = (toCanvas(at[2 * index]) - x) ** 2 + (toCanvas(at[2 * index + 1], true) - y) ** 2;
      if (far < least && !shown.hidden.has(label)) [found, least] = [index, far];
    });
    if (found !== null) setHovered(shown, found);
  };
  canvas.addEventListener("pointermove", nearest);
  canvas.addEventListener("pointerdown", nearest);
  return { element: made("figure", { className: "latent", ...(many ? { "data-model": panel.model } : {}) }, canvas, caption), show: draw };
}

// Frame, ticks, names of the axes, and the prior at 1 to 3 standard deviations.
function axes(context, panel, limit, toCanvas) {
  context.font = `22px ${getComputedStyle(document.body).fontFamily}`;
  context.fillStyle = colour("--soft");
  context.strokeStyle = colour("--line");
  context.lineWidth = 2;
  context.strokeRect(30, 30, 660, 660);
  context.textAlign = "center";
  for (const value of [-limit / 2, 0, limit / 2]) {
    context.fillText(plain(value), toCanvas(value), 714);
    context.save();
    context.translate(22, toCanvas(value, true));
    context.rotate(-Math.PI / 2);
    context.fillText(plain(value), 0, 0);
    context.restore();
  }
  context.textAlign = "right";
  context.fillText(panel.axes[0], 684, 682);
  context.textAlign = "left";
  context.fillText(panel.axes[1], 36, 54);
  context.setLineDash([8, 8]);
  context.strokeStyle = colour("--soft");
  for (const radius of [1, 2, 3]) {
    context.beginPath();
    context.arc(360, 360, radius / limit * 330, 0, 7);
    context.stroke();
  }
  context.setLineDash([]);
}

function setHovered(shown, index) {
  const { thumbnails, own } = shown;
  shown.hovered = index;
  const input = document.getElementById(`image-${own}`);
  if (document.activeElement !== input) input.value = index;
  const thumbnail = document.getElementById(`thumbnail-${own}`);
  thumbnail.hidden = !thumbnails || index >= thumbnails.count;
  if (!thumbnail.hidden) {
    const { width, height, columns } = thumbnails;
    Object.assign(thumbnail.style, {
      width: `${width}px`, height: `${height}px`,
      backgroundPosition: `-${index % columns * width}px -${Math.floor(index / columns) * height}px`,
    });
  }
  document.getElementById(`class-${own}`).textContent = shown.classes.find((each) => each.number === shown.labels[index])?.name ?? "";
  shown.panels.forEach((panel) => panel.show());
}

const KINDS = dataOf("kinds") ?? {};

function showEpochs() {
  const slider = document.getElementById("epoch");
  if (!slider) return;
  slider.min = 1;
  slider.max = lastEpoch;
  for (const row of document.querySelectorAll(".row-of")) {
    const [{ family, kind }, many] = [row.dataset, row.parentNode.classList.contains("many")];
    const shown = learned[family].epochs;
    const found = shown.kinds[kind].map((panel) => panel.points ? latentPanel(shown, panel, many) : imagesPanel(shown, kind, panel, many));
    row.append(...found.map(({ element }) => element));
    (shown.panels ??= []).push(...found);
    panels.push(...found);
  }
  learned.forEach(({ epochs }, own) => { if (epochs?.labels.length) latentControls(Object.assign(epochs, { own, hovered: null, hidden: new Set() })); });
  slider.addEventListener("input", () => setEpoch(Number(slider.value)));
  play(slider);
  setEpoch(lastEpoch);
  dark.addEventListener("change", () => setEpoch(epoch));
}

function latentControls(shown) {
  for (const { number, name } of shown.classes) {
    const button = made("button", { type: "button", className: "class", "aria-pressed": "true", style: `--own: var(--class-${number})` }, name);
    button.addEventListener("click", () => {
      if (!shown.hidden.delete(number)) shown.hidden.add(number);
      button.setAttribute("aria-pressed", String(!shown.hidden.has(number)));
      shown.panels.forEach((panel) => panel.show());
    });
    document.getElementById(`classes-${shown.own}`).append(button);
  }
  if (shown.thumbnails) document.getElementById(`thumbnail-${shown.own}`).style.backgroundImage = `url(${shown.thumbnails.source})`;
  const input = document.getElementById(`image-${shown.own}`);
  input.max = shown.labels.length - 1;
  input.addEventListener("input", () => {
    const index = Number(input.value);
    if (input.value !== "" && index in shown.labels) setHovered(shown, index);
  });
  document.getElementById(`own-axes-${shown.own}`)?.addEventListener("change", () => setEpoch(epoch));
}

function play(slider) {
  const button = document.getElementById("play");
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (epoch === lastEpoch) setEpoch(1);
    button.textContent = "Pause";
    timer = setInterval(() => {
      setEpoch(epoch + 1);
      if (epoch === lastEpoch) stop();
    }, 400);
  });
  slider.addEventListener("pointerdown", stop);
}

// --- what is under the pointer is highlighted in table, charts and panels -------------------------------------------

function lightModels() {
  let lit;
  const light = ({ target }) => {
    const model = target.closest?.("[data-model]")?.dataset.model;
    if (model === lit) return;
    lit = model;
    document.body.classList.toggle("lighting", model !== undefined);
    document.querySelectorAll("[data-model]").forEach((each) => each.classList.toggle("lit", each.dataset.model === model));
  };
  document.addEventListener("pointerover", light);
  document.addEventListener("focusin", light);
}

// --- figures, folded groups, print ------------------------------------------------------------------------------------

function enlargeFigures() {
  const dialog = document.getElementById("enlarged");
  if (!dialog) return;
  document.querySelectorAll("button.enlarge").forEach((button) => button.addEventListener("click", () => {
    const image = button.querySelector("img");
    const large = dialog.querySelector("img");
    [large.src, large.alt, large.className] = [image.src, image.alt, image.className];
    dialog.querySelector("p").textContent = button.closest("figure").querySelector("figcaption").textContent;
    dialog.showModal();
  }));
  dialog.addEventListener("click", ({ target }) => { if (target === dialog) dialog.close(); });
}

function foldGroups() {
  document.querySelectorAll("button.fold").forEach((button) => button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    button.closest("tbody").classList.toggle("folded", !open);
  }));
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && (target.matches("details") ? target : target.closest("details"));
    if (folded) { folded.open = true; target.scrollIntoView(); }
  };
  window.addEventListener("hashchange", reveal);
  reveal();
}

function openOnPaper() {
  let opened = [];
  whenPrinting((paper) => {
    if (paper) opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((each) => { each.open = paper; });
    panels.forEach((panel) => panel.show());
    allCharts.forEach(drawChart);
  });
}

showEpochs();
lightModels();
enlargeFigures();
foldGroups();
openOnPaper();
loadPlot().then(() => {
  const sized = new ResizeObserver((entries) => entries.forEach(({ target }) => drawChart(target)));
  allCharts.forEach((place) => { drawChart(place); sized.observe(place); });
  document.documentElement.dataset.ready = "true";
});
