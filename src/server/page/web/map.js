// The map: one cell per block, oldest first. Hue: the tier; strength: how much and how recently it was read.

import * as format from "./format.js";
import { NEVER } from "./decode.js";

const largestCell = 24, smallestCell = 5;  // CSS pixels, the gap between cells included
const gutter = 40;                         // where the places of tokens are written

// Strength of a cell: of what the last step read, more for more lanes (`selected`: their share); of the rest, each
// doubling of the steps since takes the same away.
export function strength(ago, selected) {
  if (ago === 0) return 0.5 + 0.5 * Math.sqrt(selected);
  return ago === NEVER ? 0.13 : Math.max(0.16, 0.42 - 0.04 * Math.log2(ago));
}

export function tierNames(map) {
  return map !== null && map.seated ? { fast: "GPU", below: "RAM", inBelow: "in RAM" }
                                    : { fast: "RAM", below: "disk", inBelow: "on disk" };
}

export function paletteOf(element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { cell: colour("--cell"), fast: colour("--fast"), below: colour("--below"), text: colour("--text"),
           quiet: colour("--quiet"), surface: colour("--surface"), line: colour("--line"), font: style.fontFamily };
}

// A canvas of CSS size (width, height) with as many pixels as the screen has; returns its context.
export function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const w = Math.round(width * ratio), h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// One cell at (x, y): what of it is in the fastest tier from below, the rest above. `filled`: how much of the block
// there is yet.
export function paintCell(context, palette, x, y, size, cell) {
  context.globalAlpha = 1;
  context.fillStyle = palette.cell;
  context.fillRect(x, y, size, size);
  context.globalAlpha = cell.strength;
  const height = size * cell.filled, top = y + size - height;
  const fast = height * cell.fast;
  context.fillStyle = palette.below;
  if (cell.fast < 1) context.fillRect(x, top, size, height - fast);
  context.fillStyle = palette.fast;
  if (cell.fast > 0) context.fillRect(x, top + height - fast, size, fast);
  context.globalAlpha = 1;
  if (cell.tail) {
    context.strokeStyle = palette.text;
    context.lineWidth = 1.5;
    context.strokeRect(x + 0.75, y + 0.75, size - 1.5, size - 1.5);
  }
}

export class CacheMapView {
  // `describe(text)` is told what the block under the pointer or the cursor is.
  constructor(canvas, describe) {
    this.canvas = canvas;
    this.describe = describe;
    this.map = null;
    this.cursor = -1;
    this.pointed = -1;
    this.ended = false;
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    canvas.addEventListener("pointermove", (event) => this.point(this.blockAt(event)));
    canvas.addEventListener("pointerdown", (event) => this.setCursor(this.blockAt(event)));
    canvas.addEventListener("pointerleave", () => this.point(-1));
    canvas.addEventListener("focus", () => this.setCursor(this.cursor < 0 ? 0 : this.cursor));
    canvas.addEventListener("blur", () => this.setCursor(-1));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  show(map, ended) {
    const other = map === null || this.map === null || map.id !== this.map.id;
    if (other) this.cursor = this.pointed = -1;
    this.map = map;
    this.ended = ended;
    this.draw();
    this.tell();
  }

  // Cells as large as they may be for all to be seen at once; when the smallest are too many, the frame scrolls.
  layout(width, height) {
    const blocks = this.map.blocks;
    for (let size = largestCell; ; --size) {
      const columns = Math.max(4, Math.floor((width - gutter) / size / 4) * 4);
      const rows = Math.ceil(blocks / columns);
      if (rows * size <= height || size === smallestCell) return { size, columns, rows };
    }
  }

  draw() {
    const frame = this.canvas.parentElement;
    const style = getComputedStyle(frame);
    const width = frame.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    if (width <= 0) return;
    const least = parseFloat(style.minHeight) - 2 * parseFloat(style.paddingTop);
    if (this.map === null || this.map.blocks === 0) {
      fit(this.canvas, width, least);
      return;
    }
    const { size, columns, rows } = this.grid = this.layout(width, least);
    const context = fit(this.canvas, width, Math.max(least, rows * size));
    const palette = paletteOf(frame);
    this.writeRows(context, palette);
    const gap = size > 9 ? 2 : 1;
    for (let b = 0; b < this.map.blocks; ++b) {
      const x = gutter + (b % columns) * size, y = Math.floor(b / columns) * size;
      paintCell(context, palette, x, y, size - gap, this.cell(b));
      if (b === this.cursor || (this.cursor < 0 && b === this.pointed)) {
        context.strokeStyle = palette.text;
        context.lineWidth = 2;
        context.strokeRect(x - 1, y - 1 + (y === 0 ? 1 : 0), size - gap + 2, size - gap + 2);
      }
    }
  }

  cell(b) {
    const map = this.map;
    const last = b === map.blocks - 1;
    const used = map.tokens - b * map.blockSize;
    return { strength: strength(map.ago[b], map.selected[b]), fast: map.fast[b], tail: last && map.tail,
             filled: last ? Math.max(0.15, Math.min(1, used / map.blockSize)) : 1 };
  }

  // The first token of a row, in the margin, where there is room for it.
  writeRows(context, palette) {
    const { size, columns, rows } = this.grid;
    const every = Math.max(1, Math.ceil(16 / size));
    context.fillStyle = palette.quiet;
    context.font = `10px ${palette.font}`;
    context.textAlign = "right";
    context.textBaseline = "top";
    for (let row = 0; row < rows; row += every) {
      context.fillText(format.tokens(row * columns * this.map.blockSize), gutter - 7, row * size + Math.max(0, size / 2 - 6));
    }
  }

  blockAt(event) {
    if (this.map === null || this.map.blocks === 0) return -1;
    const box = this.canvas.getBoundingClientRect();
    const { size, columns } = this.grid;
    const column = Math.floor((event.clientX - box.left - gutter) / size);
    const block = Math.floor((event.clientY - box.top) / size) * columns + column;
    return column < 0 || column >= columns || block >= this.map.blocks ? -1 : block;
  }

  point(block) {
    if (block === this.pointed) return;
    this.pointed = block;
    this.draw();
    this.tell();
  }

  setCursor(block) {
    this.cursor = this.map === null ? -1 : Math.min(block, this.map.blocks - 1);
    this.draw();
    this.tell();
    if (this.cursor < 0) return;
    const frame = this.canvas.parentElement, y = Math.floor(this.cursor / this.grid.columns) * this.grid.size;
    if (y < frame.scrollTop) frame.scrollTop = y;
    if (y + this.grid.size > frame.scrollTop + frame.clientHeight) frame.scrollTop = y + 2 * this.grid.size - frame.clientHeight;
  }

  key(event) {
    if (this.map === null || this.map.blocks === 0) return;
    const columns = this.grid.columns;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -8 * columns,
                    PageDown: 8 * columns, Home: -this.map.blocks, End: this.map.blocks };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    this.setCursor(Math.max(0, Math.min(this.map.blocks - 1, Math.max(0, this.cursor) + move)));
  }

  tell() {
    const block = this.cursor >= 0 ? this.cursor : this.pointed;
    this.describe(this.map === null || block < 0 || block >= this.map.blocks ? "" : this.describeBlock(block));
  }

  describeBlock(b) {
    const map = this.map;
    const first = b * map.blockSize, last = Math.min(map.tokens, first + map.blockSize) - 1;
    const { fast, inBelow } = tierNames(map);
    const lanes = (share) => (map.lanes <= 255 ? `${Math.round(share * map.lanes)} of ${map.lanes}` : format.percent(share));
    let place = `in ${fast}`;
    if (map.fast[b] === 0) place = inBelow;
    else if (map.fast[b] < 1) place = `in ${fast} for ${lanes(map.fast[b])} layers × heads, the rest ${inBelow}`;
    let read = `last read ${format.plural(map.ago[b], "step")} ago`;
    if (map.ago[b] === NEVER) read = "last read longer ago than is known";
    else if (map.ago[b] > 12) read = `last read about ${format.count(map.ago[b])} steps ago`;
    else if (map.selected[b] > 0) read = `read by ${lanes(map.selected[b])} in the last step`;
    else if (map.ago[b] === 0) read = "read in the last pass";
    const more = (b === map.blocks - 1 && map.tail ? ", still grows" : "") + (map.shared[b] ? ", shared with others" : "");
    return `Block ${format.count(b)}, tokens ${format.count(first)}–${format.count(last)}: ${place}; ${read}${more}.`;
  }
}

// The swatches of the legend, in the colours of now.
export function drawLegend(root) {
  const palette = paletteOf(root);
  const row = (id, cells) => {
    const canvas = root.querySelector(id), size = 12;
    canvas.style.width = `${cells.length * (size + 2) - 2}px`;
    const context = fit(canvas, cells.length * (size + 2) - 2, size);
    cells.forEach((cell, i) => paintCell(context, palette, i * (size + 2), 0, size, { filled: 1, tail: false, ...cell }));
  };
  const strengths = [strength(0, 1), strength(0, 0.1), strength(100, 0)];
  row("#legend-fast", strengths.map((s) => ({ strength: s, fast: 1 })));
  row("#legend-below", strengths.map((s) => ({ strength: s, fast: 0 })));
  row("#legend-part", [{ strength: 1, fast: 0.5 }]);
  row("#legend-tail", [{ strength: 1, fast: 1, filled: 0.5, tail: true }]);
}
