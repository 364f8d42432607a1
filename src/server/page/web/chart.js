// Small line charts of the last minute.

import { fit, paletteOf } from "./map.js";

const span = 60;  // seconds

export class LineChart {
  // `top`: the value at the upper edge; null: as the data asks. `label(top)` is written there.
  constructor(canvas, top, label) {
    this.canvas = canvas;
    this.top = top;
    this.label = label;
    this.points = [];  // [seconds, value]; a null value: nothing was measured
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  add(now, value) {
    this.points.push([now, value]);
    while (this.points.length > 0 && this.points[0][0] < now - span - 2) this.points.shift();
    this.draw();
  }

  draw() {
    const width = this.canvas.clientWidth, height = 44;
    if (width === 0) return;
    const context = fit(this.canvas, width, height);
    const palette = paletteOf(this.canvas);
    const values = this.points.map(([, value]) => value).filter((value) => value !== null);
    const top = this.top ?? Math.max(1, ...values) * 1.1;
    const x = (t, now) => width - 3 - ((now - t) / span) * (width - 3);
    const y = (value) => height - 3 - (value / top) * (height - 8);
    context.strokeStyle = palette.line;
    context.lineWidth = 1;
    context.beginPath();
    for (const level of [0, top]) {
      context.moveTo(0, Math.round(y(level)) + 0.5);
      context.lineTo(width, Math.round(y(level)) + 0.5);
    }
    context.stroke();
    context.fillStyle = palette.quiet;
    context.font = `9px ${palette.font}`;
    context.textBaseline = "top";
    context.fillText(this.label(top), 0, y(top) + 3);
    if (this.points.length === 0) return;
    const now = this.points[this.points.length - 1][0];
    context.strokeStyle = palette.text;
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.beginPath();
    let drawing = false, end = null;
    for (const [t, value] of this.points) {
      if (value === null) {
        drawing = false;
        continue;
      }
      end = [x(t, now), y(value)];
      if (drawing) context.lineTo(...end);
      else context.moveTo(...end);
      drawing = true;
    }
    context.stroke();
    if (!drawing) return;
    context.fillStyle = palette.fast;
    context.beginPath();
    context.arc(end[0] - 1, end[1], 2.5, 0, 2 * Math.PI);
    context.fill();
  }
}
