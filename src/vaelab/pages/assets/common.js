"use strict";
// What the pages share: data blocks, packed bytes, the colours of the style sheet.

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

// An element with properties, or where their names have a "-", attributes.
function made(tag, properties = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") found.setAttribute(name, value);
    else found[name] = value;
  }
  found.append(...children);
  return found;
}

const typographic = (text) => String(text).replace("-", "−");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const page = document.documentElement.classList;
const onDark = () => dark.matches && !page.contains("paper");

// Paper is light. What is to be on it must be drawn before the event has ended: then the browser counts pages.
function whenPrinting(show) {
  for (const [event, paper] of [["beforeprint", true], ["afterprint", false]]) {
    window.addEventListener(event, () => {
      page.toggle("paper", paper);
      show(paper);
    });
  }
}
