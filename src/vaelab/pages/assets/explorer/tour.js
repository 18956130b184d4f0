// Five steps through what a latent space is, with the numbers of this page's models.

const priorDraws = (() => {
  const source = generator(7);
  return Array.from({ length: 1000 }, () => normal(source));
})();

const ofEach = (say, between = " ") => views.map((view) => `${named(view)}${say(view)}`).join(between);
const average = (values) => sum([...values]) / values.length;

function holesOf(view) {  // prior draws that lie in holes, of this checkpoint
  view.holes ??= new Map();
  if (!view.holes.has(view.means)) view.holes.set(view.means, priorDraws.filter((z) => view.isHole(z)));
  return view.holes.get(view.means);
}

function drawPrior() {
  setZ(normal(random), views);
}

const TOUR = [
  {
    title: "The prior",
    enter: drawPrior,
    action: ["Draw another z", drawPrior],
    text: () => `A VAE makes an image by drawing z from the prior N(0, I) and decoding it. Half of all draws lie within |z| = ${shown(given.median)}, `
      + `95 % within ${shown(Math.sqrt(given.covered.square))}; the dashed ${LATENTS === 1 ? "lines are at 1, 2 and 3 on either side" : "circles are at 1, 2 and 3"}. The cross is such a draw: what it is decoded to looks like the data `
      + "only where images are encoded.",
  },
  {
    title: "The posterior",
    panel: "noise-panel",
    enter: () => {
      state.showNoise = true;
      choose(state.subject.index === null ? testImage(0) : state.subject);
    },
    action: ["New ε", () => { drawNoise(); requestRedraw(); }],
    text: () => `The encoder does not give a single z for an image, but the distribution q(z|x) = N(μ, σ²): ${LATENTS === 1 ? "" : "the ellipses are at 1 and 2 σ around μ, "}the dots are draws μ + σ·ε. `
      + ofEach((view) => {
        const { logVariance } = view.posterior(state.subject);
        const sigma = average(logVariance.map((value) => Math.exp(0.5 * value)));
        return `σ is ${precise(sigma)} on average over the dimensions, where the prior's is 1, and the KL is ${shown(klOf(view.posterior(state.subject)), 1)} nats for ${state.subject.text}.`;
      }) + " Move the slider of σ below to see what the noise does to the image.",
  },
  {
    title: "Holes",
    enter: () => {
      state.background = "holes";
      const view = views[state.active];
      const holes = holesOf(view);
      if (holes.length) setZ(holes.reduce((nearest, z) => (Math.hypot(...z) < Math.hypot(...nearest) ? z : nearest)), state.sameZ ? views : [view]);
    },
    text: () => `A hole is a region where no image is encoded: outside the 95 % region of all ${whole(COUNT)} posteriors here (hatched). `
      + ofEach((view) => {
        const share = holesOf(view).length / priorDraws.length;
        return `${percent(share)} of 1,000 prior draws fall in a hole${share > 0.5 ? ": most samples are decoded from regions where the decoder was trained on few or no images."
          : share > 0 ? ": there the decoder was trained on few images, and its output may resemble none of the data." : "."}`;
      }) + " With more images there are fewer holes; an evaluation counts them against all training images, as prior_not_covered.",
  },
  {
    title: "What keeps posteriors near the prior",
    enter: () => {
      state.background = "none";
      resetView();
    },
    text: () => {
      const weighted = views.every((view) => view.model.objective === "neg_elbo");
      return (weighted ? "β is the weight of the KL in the loss, after a warm-up if there is one; the KL pulls every posterior towards N(0, I)."
        : "The loss determines what pulls the posteriors towards N(0, I), and how strongly.") + " Over the images here, "
        + ofEach((view) => {
          const { beta, loss, objective } = view.model;
          const how = !weighted ? `with the ${loss ? `loss ${loss},` : `objective ${objective}`}`
            : beta === 0 ? "with the KL off (β = 0)" : `with β = ${beta}`;
          return `${how} the KL is ${shown(sum([...view.kl]), 1)} nats per image, σ is ${precise(average(view.sigma))} on average, and the posterior means have a standard deviation of ${shown(average(view.spread))} per dimension`;
        }, "; ") + "."
        + (views.length > 1 && views.some((view) => view.model.beta === 0)
          ? " Without the KL nothing keeps the posteriors near 0, and σ may shrink until they hardly overlap."
          : ` Exact reconstructions need a small σ and posteriors far apart; the ${weighted ? "KL favours the opposite: β sets the balance." : "prior favours the opposite."}`)
        + (views.length > 1 ? "" : ` The explorer of a sweep shows two models${weighted ? " with different β" : ""} side by side.`);
    },
  },
  {
    title: "Interpolation",
    panel: "between-panel",
    enter: () => {
      state.share = 0.5;
      element("share").value = 0.5;
      interpolate();
    },
    text: () => `Half-way between the posterior means of A (${state.A.name}) and B (${state.B.name}). Where the space between is covered, the decoded images change `
      + "smoothly, through other classes where these lie between. "
      + ofEach((view) => {
        const holes = [...Array(BETWEEN).keys()].filter((step) => view.isHole(view.between(step / (BETWEEN - 1)))).length;
        return `${holes} of ${BETWEEN} points on the line are in holes.`;
      }) + " Move the slider below to go from A to B.",
  },
];

let tourStep = null;

function showTour() {
  const box = element("tour");
  box.hidden = tourStep === null;
  element("tour-switch").setAttribute("aria-pressed", String(tourStep !== null));
  if (tourStep === null) return;
  const { title, text, action } = TOUR[tourStep];
  element("tour-title").textContent = `${tourStep + 1} of ${TOUR.length}: ${title}`;
  element("tour-text").textContent = text();
  element("tour-back").disabled = tourStep === 0;
  element("tour-next").textContent = tourStep === TOUR.length - 1 ? "End" : "Next";
  element("tour-action").hidden = action === undefined;
  if (action) [element("tour-action").textContent, element("tour-action").onclick] = action;
}

function goTo(step) {
  tourStep = step !== null && step >= 0 && step < TOUR.length ? step : null;
  const { panel, enter } = TOUR[tourStep] ?? {};
  if (panel) element(panel).open = true;
  enter?.();
  showControls();
  showTour();
  requestRedraw(true);
  requestAnimationFrame(() => requestAnimationFrame(() => {  // all is drawn: to what the step speaks of
    if (panel) element(panel).scrollIntoView({ block: "nearest" });
    else if (tourStep !== null) window.scrollTo(0, 0);
  }));
}

function startTour() {
  element("tour-switch").addEventListener("click", () => goTo(tourStep === null ? 0 : null));
  element("tour-back").addEventListener("click", () => goTo(tourStep - 1));
  element("tour-next").addEventListener("click", () => goTo(tourStep + 1));
  element("tour-end").addEventListener("click", () => goTo(null));
}
