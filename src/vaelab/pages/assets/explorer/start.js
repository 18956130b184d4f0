// Controls, the address, and the start. `state` and the controls say the same: showControls writes the latter.

let imageTile = null;
const inNotebook = location.protocol === "about:";  // in a frame, which has no address and no files beside it

const CHOICES = ["background", "points"];  // of the state: a select each
const SWITCHES = { names: "names", same: "sameZ", "same-axes": "sameAxes", freeze: "freeze", "show-noise": "showNoise" };  // a checkbox each

function showControls() {
  for (const name of CHOICES) element(name).value = state[name];
  for (const [id, name] of Object.entries(SWITCHES)) if (element(id)) element(id).checked = state[name];
  ["across", "up"].forEach((axis, number) => { if (element(axis)) element(axis).value = state.axes[number]; });
  for (const button of element("legend").children) button.setAttribute("aria-pressed", String(!state.hidden.has(Number(button.dataset.class))));
  if (element("epoch")) {
    element("epoch").value = given.epochs.indexOf(state.epoch);
    element("epoch").setAttribute("aria-valuetext", `epoch ${state.epoch}`);
    element("epoch-now").textContent = `epoch ${state.epoch}`;
  }
  element("sigma").value = state.sigma;
  element("share").value = state.share;
}

function setAxes(axes) {
  state.axes = axes;
  for (const view of views) view.setAxes();
}

function fillAxes() {
  if (LATENTS <= 2) return;
  const options = [...views[0].model.directions.keys()].map((k) => LATENTS + k).concat([...Array(LATENTS).keys()]);
  ["across", "up"].forEach((axis, number) => {
    const select = element(axis);
    select.append(...options.map((value) => new Option(axisName(value), value)));
    select.addEventListener("change", () => {
      const axes = [...state.axes];
      axes[number] = Number(select.value);
      if (axes[0] === axes[1]) axes[1 - number] = state.axes[number];  // the two change places
      setAxes(axes);
      resetView();
      showControls();
      requestRedraw(true);
    });
  });
}

function fillLegend() {
  for (const each of given.classes) {
    const mark = made("i");
    each.colours.forEach((own, place) => mark.style.setProperty(["--on-light", "--on-dark"][place], own));
    const button = made("button", { type: "button" }, mark, each.name);
    button.dataset.class = each.number;
    button.addEventListener("click", () => {
      if (!state.hidden.delete(each.number)) state.hidden.add(each.number);
      showControls();
      requestRedraw(true);
    });
    element("legend").append(button);
  }
}

async function goToEpoch(epoch) {  // an image is at its posterior mean in each epoch; any other z stays
  const atMean = views.map((view) => view.means && view.z.every((value, k) => Math.abs(value - view.posterior(state.subject).mean[k]) < 1e-6));
  state.epoch = epoch;
  await Promise.all(views.map((view) => view.load(epoch)));
  setAxes(state.axes);
  views.forEach((view, number) => { if (atMean[number]) view.z = Float32Array.from(view.posterior(state.subject).mean); });
  orderDimensions();
  showControls();
  showTour();
  requestRedraw(true);
}

// --- the state in the address: what is seen can be sent as a link ----------------------------------------------------

const asText = (values) => [...values].map((value) => Number(value.toFixed(3))).join(",");
const asNumbers = (text) => (text ?? "").split(",").filter((each) => each !== "").map(Number);

function writeAddress() {
  if (inNotebook) return;
  const found = new URLSearchParams();
  if (state.subject.index !== null) found.set("image", state.subject.index);
  found.set("z", views.map((view) => asText(view.z)).join(";"));
  found.set("axes", state.axes.join(","));
  found.set("view", views.map(({ frame }) => asText([...frame.centre, frame.reach])).join(";"));
  if (given.epochs.length > 1) found.set("epoch", state.epoch);
  for (const name of CHOICES) found.set(name, state[name]);
  if (state.hidden.size) found.set("hidden", [...state.hidden].join(","));
  if (CONDITIONAL) found.set("given", Network.given);
  if (state.sameZ) found.set("same", "1");
  if (!state.sameAxes) found.set("own-axes", "1");
  for (const letter of LETTERS) if (state[letter].index !== null) found.set(letter, state[letter].index);
  if (tourStep !== null) found.set("tour", tourStep + 1);
  const address = `#${decodeURIComponent(found)}`;
  if (address === location.hash) return;
  written = address;
  history.replaceState(null, "", address);
}

let written = null;
async function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1).replaceAll("+", " "));
  const image = (name) => {
    const index = found.get(name) === null ? NaN : Number(found.get(name));
    return Number.isInteger(index) && index >= 0 && index < COUNT ? testImage(index) : null;
  };
  for (const letter of LETTERS) state[letter] = image(letter) ?? state[letter];
  const axes = asNumbers(found.get("axes"));
  const known = (axis) => Number.isInteger(axis) && axis >= 0 && axis < LATENTS + views[0].model.directions.length;
  if (axes.length === 2 && axes.every(known) && axes[0] !== axes[1]) { setAxes(axes); }
  for (const name of CHOICES) if ([...element(name).options].some((option) => option.value === found.get(name))) state[name] = found.get(name);
  state.hidden = new Set(asNumbers(found.get("hidden")));
  state.sameZ = found.get("same") === "1" && views.length > 1;
  state.sameAxes = found.get("own-axes") !== "1";
  resetView();
  const epoch = Number(found.get("epoch"));
  if (given.epochs.includes(epoch) && epoch !== state.epoch) await goToEpoch(epoch);
  if (image("image")) choose(image("image"));
  if (CONDITIONAL && names[found.get("given")]) give(Number(found.get("given")));
  if (found.has("tour")) goTo(Number(found.get("tour")) - 1);
  const ofViews = (name, size, use) => (found.get(name) ?? "").split(";").forEach((text, number) => {
    const values = asNumbers(text);
    if (views[number] && values.length === size && values.every(Number.isFinite)) use(views[number], values);
  });
  ofViews("view", 3, ({ frame }, [u, v, reach]) => { if (reach > 0) Object.assign(frame, { centre: [u, v], reach }); });
  ofViews("z", LATENTS, (view, z) => { view.z = Float32Array.from(z); });
  showControls();
  requestRedraw(true);
}

// --- start ---------------------------------------------------------------------------------------------------------

function listenToControls() {
  for (const name of CHOICES) element(name).addEventListener("change", (event) => { state[name] = event.target.value; requestRedraw(true); });
  for (const [id, name] of Object.entries(SWITCHES)) {
    element(id)?.addEventListener("change", (event) => {
      state[name] = event.target.checked;
      if (name === "sameZ" && state.sameZ) setZ(views[state.active].z, views);
      if (name === "sameAxes") resetView();
      requestRedraw(true);
    });
  }
  element("zoom-in").addEventListener("click", () => zoom(1 / 1.25));
  element("zoom-out").addEventListener("click", () => zoom(1.25));
  element("reset").addEventListener("click", () => { resetView(); requestRedraw(true); });
  element("number").max = COUNT - 1;
  element("number").addEventListener("input", (event) => {
    const chosen = Number(event.target.value);
    if (event.target.value !== "" && Number.isInteger(chosen) && chosen >= 0 && chosen < COUNT) choose(testImage(chosen));
  });
  element("epoch")?.addEventListener("input", (event) => goToEpoch(given.epochs[event.target.value]));
  element("sigma").addEventListener("input", (event) => { state.sigma = Number(event.target.value); requestRedraw(); });
  element("draw").addEventListener("click", () => { drawNoise(); requestRedraw(); });
  for (const button of document.querySelectorAll("[data-set]")) button.addEventListener("click", () => setLetter(button.dataset.set, subjectShown()));
  element("share").addEventListener("input", (event) => { state.share = Number(event.target.value); interpolate(); });
  for (const choice of document.querySelectorAll('input[name="path"]'))
    choice.addEventListener("change", () => { state.path = choice.value; interpolate(); });
  element("go").addEventListener("click", () => {
    for (const view of views) view.z = Float32Array.from(view.arithmetic());
    requestRedraw();
  });
  for (const panel of document.querySelectorAll("details.panel")) panel.addEventListener("toggle", () => { showPairs(); requestRedraw(); });
  window.addEventListener("resize", () => requestRedraw(true));
  window.addEventListener("hashchange", () => { if (location.hash !== written) readAddress(); });
  dark.addEventListener("change", () => {
    for (const view of views) view.nearShown = null;  // its edges have the colours of classes
    requestRedraw(true);
  });
  whenPrinting(() => {
    pending.background = true;
    redraw();
  });
}

async function start() {
  if (inNotebook) document.querySelector("nav.pages").remove();
  images = await unpack(element("images").textContent.trim());
  given.models.forEach((model, number) => views.push(new View(model, number)));
  state.epoch = given.epochs.at(-1);
  if (LATENTS > 2) state.axes = [LATENTS, LATENTS + 1];  // the plane in which images differ most
  await Promise.all(views.map((view) => view.load(state.epoch)));
  setAxes(state.axes);
  imageTile = tile(element("image"), "", "The selected image");
  if (views.length === 1) views[0].outputs.prepend(element("subject"));
  const other = (label) => given.labels.findIndex((each) => each !== label);
  const second = Math.max(other(given.labels[0]), Math.min(1, COUNT - 1));  // of one class: just another image
  const third = given.labels.findIndex((label, index) => label === given.labels[second] && index !== second);
  [state.A, state.B, state.C] = [0, second, Math.max(0, third)].map(testImage);
  state.subject = testImage(0);
  drawNoise();
  resetView();
  fillAxes();
  fillLegend();
  fillClasses();
  fillDimensions();
  orderDimensions();
  startPad();
  startTour();
  for (const view of views) listen(view);
  listenToControls();
  redrawn.push(showReadings, showNearest, showNoise, showDimensions);
  whenSettled.push(announce, showTraversals, () => { if (tourStep !== null) showTour(); }, writeAddress);
  choose(state.subject);
  await readAddress();
  requestAnimationFrame(() => requestAnimationFrame(() => element("explorer").setAttribute("aria-busy", "false")));
}

window.explorer = { state, views, ready: start().catch((error) => {
  element("explorer").prepend(made("p", { className: "error", textContent: `This page could not start: ${error.message}. It requires a browser of 2023 or newer.` }));
  throw error;
}) };
