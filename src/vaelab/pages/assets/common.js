"use strict";
// What the pages share: data blocks, packed bytes, charts in the page's colours, sliders and sortable tables.

function dataOf(id) {
  const block = document.getElementById(id);
  return block ? JSON.parse(block.textContent) : null;
}

// Bytes that pages/page.py has packed: base64 of gzip.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const dark = window.matchMedia("(prefers-color-scheme: dark)");
let onPaper = false;

// --- charts ---------------------------------------------------------------------------------------------------

function themed(spec) {
  const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--soft"),
                 automargin: true, ticks: "outside", tickcolor: colour("--soft") };
  const layout = structuredClone(spec.layout);
  for (const name of ["xaxis", "yaxis"]) layout[name] = { ...axis, ...layout[name] };
  const data = structuredClone(spec.data).map((trace) => {
    const place = trace.meta?.colour;
    if (place !== undefined) {
      const own = colour(`--line-${place}`);
      trace.line = { ...trace.line, color: own };
      trace.marker = { ...trace.marker, color: own };
    }
    const pair = trace.meta?.colours;  // on a light and on a dark background
    if (pair !== undefined) {
      const own = pair[dark.matches && !onPaper ? 1 : 0];
      trace.line = { ...trace.line, color: own };
      trace.marker = { ...trace.marker, color: own };
      if (trace.fill) trace.fillcolor = `${own}33`;
    }
    return trace;
  });
  return {
    data,
    layout: {
      ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      font: { color: colour("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
      margin: { l: 60, r: 15, t: 35, b: 45 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    },
  };
}

async function drawCharts() {
  const library = document.getElementById("plotly");
  if (!library) return;
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpack(library.textContent.trim()));
  document.head.append(script);
  const hovers = window.matchMedia("(hover: hover)").matches;  // on a phone the buttons would cover the curves
  const config = { responsive: true, displaylogo: false, displayModeBar: hovers ? "hover" : false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  const specs = dataOf("charts");
  const draw = (paper = false) => document.querySelectorAll(".chart").forEach((place, number) => {
    const { data, layout } = themed(specs[number]);
    Plotly.react(place, data, paper ? { ...layout, width: 640, height: 300, autosize: false } : layout, config);
  });
  draw();
  dark.addEventListener("change", () => draw());
  window.matchMedia("print").addEventListener("change", (print) => {  // paper is narrower, and light
    onPaper = print.matches;
    document.documentElement.classList.toggle("paper", onPaper);
    draw(onPaper);
  });
}

// --- the epochs -----------------------------------------------------------------------------------------------

// Images: by kind, then by panel, a list of {epoch, source, width, height}. One slider moves all panels.
function slideEpochs() {
  const kinds = dataOf("images");
  const slider = document.getElementById("epoch");
  if (!kinds || !slider) return;
  const choice = document.getElementById("kind");
  const place = document.getElementById("panels");
  let epochs = [];
  let panels = {};
  const fill = () => {
    panels = choice ? kinds[choice.value] : kinds.run;
    const before = epochs[slider.value];
    epochs = [...new Set(Object.values(panels).flat().map((each) => each.epoch))].sort((a, b) => a - b);
    slider.max = epochs.length - 1;
    slider.value = before === undefined ? epochs.length - 1 : Math.max(0, epochs.findLastIndex((each) => each <= before));
    place.replaceChildren(...Object.keys(panels).map((name) => {
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.textContent = name;
      figure.append(new Image(), caption);
      return figure;
    }));
    show();
  };
  const show = () => {
    const epoch = epochs[slider.value];
    document.getElementById("epoch-now").textContent = `epoch ${epoch}`;
    slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    Object.entries(panels).forEach(([name, list], number) => {
      const shown = list.findLast((each) => each.epoch <= epoch) ?? list[0];
      const image = place.children[number].firstChild;
      image.src = shown.source;
      image.width = shown.width;
      image.height = shown.height;
      image.alt = `${name}, epoch ${shown.epoch}`;
      place.children[number].lastChild.textContent = shown.epoch === epoch ? name : `${name}, epoch ${shown.epoch}`;
    });
  };
  slider.addEventListener("input", show);
  choice?.addEventListener("change", fill);
  fill();
  const play = document.getElementById("play");
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) === epochs.length - 1) slider.value = 0;
    show();
    play.textContent = "Pause";
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      if (Number(slider.value) === epochs.length - 1) stop();
    }, 400);
  });
}

// --- tables ---------------------------------------------------------------------------------------------------

function sortTables() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      heading.querySelector("button").addEventListener("click", () => {
        const ascending = heading.getAttribute("aria-sort") !== "ascending";
        headings.forEach((each) => each.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === "" || y === "") return (x === "") - (y === "");  // missing values come last
          const difference = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
          return ascending ? difference : -difference;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
}
