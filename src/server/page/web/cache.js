// The panel of the cache: asks the server how it is, and where the blocks of the chosen request are.

import { ApiError, getJson } from "./api.js";
import { LineChart } from "./chart.js";
import { decodeMap } from "./decode.js";
import * as format from "./format.js";
import { CacheMapView, drawLegend, tierNames } from "./map.js";

const busyPeriod = 400, idlePeriod = 2000;  // milliseconds between two looks

const get = (id) => document.getElementById(id);

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

// How much of a cumulative pair {part, whole} came to it since the last look; null: nothing did.
class Share {
  part = 0;
  whole = 0;
  since(part, whole) {
    const share = whole > this.whole ? (part - this.part) / (whole - this.whole) : null;
    this.part = part;
    this.whole = whole;
    return share;
  }
}

export class CachePanel {
  constructor() {
    this.view = new CacheMapView(get("map"), (text) => this.inspect(text));
    this.charts = { locality: new LineChart(get("chart-locality"), 1, format.percent),
                    hits: new LineChart(get("chart-hits"), 1, format.percent),
                    rate: new LineChart(get("chart-rate"), null, format.rate) };
    this.locality = new Share();
    this.hits = new Share();
    this.mine = null;      // the request of this page's chat
    this.picked = null;    // the request somebody chose from the list; null: the newest that matters
    this.shown = null;     // the map that is drawn
    this.timer = 0;
    this.inspect("");
    this.recolour();
    document.addEventListener("visibilitychange", () => this.look());
  }

  start() { this.look(); }

  // The chat's own request began: the map follows it.
  follow(id) {
    this.mine = id;
    this.picked = null;
    this.look();
  }

  recolour() {
    drawLegend(get("legend"));
    this.view.draw();
    for (const chart of Object.values(this.charts)) chart.draw();
  }

  inspect(text) {
    get("inspector").textContent = text;
    get("inspector").dataset.empty = text === "";
    if (text === "" && this.shown !== null)
      get("inspector").textContent = "Point at a block, or go to the map with Tab and move with the arrow keys.";
  }

  async look() {
    clearTimeout(this.timer);
    if (document.hidden) return;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    let period = idlePeriod;
    try {
      const status = await getJson("/v1/nosa/status");
      if (turn !== this.turn) return;
      if (status.answers.length > 0) period = busyPeriod;
      this.showStatus(status);
      await this.showMap(status);
    } catch (error) {
      if (turn !== this.turn) return;
      this.say("lost", error instanceof ApiError ? error.message : "no connection");
    }
    if (turn === this.turn) this.timer = setTimeout(() => this.look(), period);
  }

  // `more`: what a phone has no room for.
  say(state, text, more = "") {
    get("load").dataset.state = state;
    get("load-text").textContent = text;
    get("load-more").textContent = more;
  }

  showStatus(status) {
    const running = status.reading + status.answering + status.paused;
    if (status.draining) this.say("lost", `shutting down${running > 0 ? `, ${running} running` : ""}`);
    else if (running + status.queued === 0) this.say("idle", "idle");
    else this.say("busy", `${running} running`, `${status.queued > 0 ? `, ${status.queued} waiting` : ""}, ${format.rate(status.tokens_per_second)} tok/s`);
    get("queue").textContent = status.queued > 0 ? `· ${status.queued} waiting` : "";
    get("model").textContent = status.model;
    this.showCharts(status);
    this.showTiers(status.tiers);
    this.showRequests(status.answers);
  }

  showCharts(status) {
    const now = performance.now() / 1000;
    const { locality } = status;
    const reads = status.kv.seats ?? status.kv.host;  // where there are seats, answers take their steps there
    const shares = { locality: this.locality.since(locality.mean * locality.queries, locality.queries),
                     hits: this.hits.since(reads.hits, reads.lookups) };
    const show = (chart, id, value, text) => {
      this.charts[chart].add(now, value);
      if (value !== null) get(id).textContent = text(value);
    };
    show("locality", "locality", shares.locality, format.percent);
    show("hits", "hit-rate", shares.hits, format.percent);
    show("rate", "rate", status.tokens_per_second, format.rate);
    get("chart-locality").setAttribute("aria-label", `Locality over the last minute, now ${get("locality").textContent}`);
    get("chart-hits").setAttribute("aria-label", `Hit rate over the last minute, now ${get("hit-rate").textContent}`);
    get("chart-rate").setAttribute("aria-label", `Tokens per second over the last minute, now ${get("rate").textContent}`);
  }

  showTiers(tiers) {
    for (const id of ["legend-below", "legend-part"]) get(id).parentElement.hidden = tiers.length < 2;
    const list = get("tiers");
    if (list.childElementCount !== 3 * tiers.length) {
      list.replaceChildren(...tiers.flatMap((tier, i) => {
        const meter = element("dd", undefined, i + 1 === tiers.length && i > 0 ? "meter below" : "meter");
        meter.append(element("span"));
        return [element("dt", tier.name), meter, element("dd", undefined, "amount")];
      }));
    }
    tiers.forEach((tier, i) => {
      const [name, meter, amount] = [0, 1, 2].map((k) => list.children[3 * i + k]);
      name.textContent = tier.name;
      const bounded = tier.budget_bytes !== null;
      meter.style.visibility = bounded ? "visible" : "hidden";
      meter.firstChild.style.width = bounded ? `${Math.min(100, (100 * tier.used_bytes) / Math.max(1, tier.budget_bytes))}%` : "0";
      amount.textContent = bounded ? `${format.bytes(tier.used_bytes)} of ${format.bytes(tier.budget_bytes)}` : format.bytes(tier.used_bytes);
    });
  }

  showRequests(answers) {
    const body = get("requests");
    const shown = this.choose(answers);
    const focused = document.activeElement?.dataset?.request;
    const rows = answers.map((answer) => {
      const row = element("tr"), cell = element("td");
      const button = element("button", answer.id === this.mine ? "this chat" : `#${answer.id}`);
      button.type = "button";
      button.dataset.request = answer.id;
      button.setAttribute("aria-pressed", String(answer.id === shown));
      button.title = "Show its blocks";
      button.addEventListener("click", () => {
        this.picked = answer.id;
        this.look();
      });
      cell.append(button);
      const reading = answer.phase === "reading";
      const tokens = reading ? `${format.count(answer.prompt_done)} of ${format.count(answer.prompt_tokens)}`
                             : `${format.count(answer.prompt_tokens)} + ${format.count(answer.generated_tokens)}`;
      row.append(cell, element("td", answer.phase), element("td", tokens, "number"),
                 element("td", answer.tokens_per_second > 0 ? format.rate(answer.tokens_per_second) : "–", "number"));
      return row;
    });
    if (rows.length === 0) {
      const none = element("tr", undefined, "none"), cell = element("td", "none");
      cell.colSpan = 4;
      none.append(cell);
      rows.push(none);
    }
    body.replaceChildren(...rows);
    if (focused) body.querySelector(`[data-request="${focused}"]`)?.focus();
  }

  // Whose map: what somebody picked, this chat's, else the oldest that runs. One that ended stays as it was last seen.
  choose(answers) {
    const runs = (id) => answers.some((answer) => answer.id === id && answer.phase !== "queued");
    if (runs(this.picked)) return this.picked;
    if (runs(this.mine)) return this.mine;
    if (this.mine !== null && this.shown !== null && this.shown.id === this.mine && this.picked === null) return null;
    return answers.find((answer) => answer.phase !== "queued")?.id ?? null;
  }

  async showMap(status) {
    const id = this.choose(status.answers);
    const json = id === null ? null : await getJson(`/v1/nosa/cache?id=${encodeURIComponent(id)}`);
    const ended = json === null;  // perhaps since the server listed it
    if (!ended) this.shown = decodeMap(json);
    const shown = this.shown;
    get("map-empty").hidden = shown !== null;
    if (shown === null) return;
    this.view.show(shown, ended);
    const names = tierNames(shown);
    get("legend-fast-text").textContent = names.fast;
    get("legend-below-text").textContent = names.below;
    const fast = shown.blocks === 0 ? 1 : shown.fast.reduce((a, b) => a + b, 0) / shown.blocks;
    get("map-title").textContent = `${format.plural(shown.tokens, "token")} in ${format.plural(shown.blocks, "block")} · ` +
      `${format.percent(fast)} in ${names.fast}${ended ? " · ended" : ""}`;
    if (this.view.cursor < 0 && this.view.pointed < 0) this.inspect("");
  }
}
