// The class that class-conditional models are given: a test image's own, until another one is chosen.

const CONDITIONAL = given.models.some((model) => model.network.classes.length);

function give(label) {
  Network.given = label;
  for (const subject of [state.subject, state.A, state.B, state.C]) if (subject) delete subject.encoded;  // drawings
  if (element("given")) element("given").value = label;
}

// What `compute` finds of a subject that the mouse is over, which is given its own class.
function givenItsOwn(subject, compute) {
  const chosen = Network.given;
  if (state.hovered !== null) Network.given = given.labels[subject.index];
  try { return compute(); } finally { Network.given = chosen; }
}

const likelihoodOf = (view) => (view.network.spec.classes.length ? "p(x|z, y)" : "p(x|z)");

function fillClasses() {
  const select = element("given");
  if (!select) return;
  select.append(...given.classes.map((each) => new Option(each.name, each.number)));
  select.addEventListener("change", () => { give(Number(select.value)); requestRedraw(true); });
}
