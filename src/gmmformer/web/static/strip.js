// The strip below a film: how well each of its parts matches, where the moment is, and where it plays.

import { thumbnail } from "./api.js";
import { drawing, element, setAttributes } from "./dom.js";
import { dragEnd } from "./ends.js";
import { clock, spoken } from "./format.js";
import { frameImage } from "./images.js";
import { shotsOf } from "./shots.js";

/** @import { Moment } from "./moment.js" */

/** Of the drawing; it is stretched to whatever room there is. */
export const [WIDTH, HEIGHT] = [1000, 100];
/** Share of the height that the lowest score keeps. */
const FLOOR = 0.08;
/** With more pieces than this, no gaps between them. */
const WITH_GAPS = 80;
/** Milliseconds that the pointer rests before a frame is fetched. */
const REST = 40;

/**
 * The lowest and highest score in all of an answer's strips, so that they can be compared.
 * @param {{edges: number[], scores: number[]}[]} strips
 */
export function scaleOf(strips) {
  const scores = strips.flatMap((strip) => strip.scores);
  if (!scores.length) return { low: 0, high: 1 };
  const sorted = Float64Array.from(scores).sort();
  const low = sorted[Math.floor(sorted.length * 0.1)];
  const high = sorted[sorted.length - 1];
  return { low, high: Math.max(high, low + 1e-6) };
}

/** The middle of the best piece between two seconds; the middle of these where there is no strip. */
export function peakOf(strip, start, end) {
  let best = -1;
  strip?.scores.forEach((score, index) => {
    const middle = (strip.edges[index] + strip.edges[index + 1]) / 2;
    if (middle >= start && middle <= end && (best < 0 || score > strip.scores[best])) best = index;
  });
  return best < 0 ? (start + end) / 2 : (strip.edges[best] + strip.edges[best + 1]) / 2;
}

/**
 * The outline of a bar for each piece of a strip.
 * @param {{edges: number[], scores: number[]}} strip
 * @param {{low: number, high: number}} scale
 * @param {function(number): number} share where a second is, from 0 on the left to 1
 * @param {function(number, number): boolean} wanted whether a piece is, by its seconds
 */
export function barsOf({ edges, scores }, { low, high }, share, wanted) {
  const gap = scores.length > WITH_GAPS ? 0 : 0.18;
  const parts = scores.map((score, index) => {
    const [from, to] = [edges[index], edges[index + 1]];
    if (!wanted(from, to)) return "";
    const part = Math.min(Math.max((score - low) / (high - low), 0), 1);
    const top = HEIGHT * (1 - FLOOR - (1 - FLOOR) * part ** 1.5);
    const [left, right] = [share(from) * WIDTH, share(to) * WIDTH];
    const inset = ((right - left) * gap) / 2;
    return `M${(left + inset).toFixed(1)} ${HEIGHT}V${top.toFixed(1)}H${(right - inset).toFixed(1)}V${HEIGHT}Z`;
  });
  return parts.join("");
}

/** A slider over a film's seconds. */
export class Strip {
  #shown = null;
  #drawn = null;
  #moved = () => this.#showMoment();
  #timer = 0;
  #at;

  /**
   * @param {Object} film id, name, length, available
   * @param {Moment} moment
   * @param {function(number): void} onSeek what to do with a second that was chosen
   * @param {string} what it shows, besides the moment
   */
  constructor(film, moment, onSeek, what = "Scores along") {
    this.film = film;
    this.moment = moment;
    this.onSeek = onSeek;
    this.what = what;
    this.#at = moment.start;
    this.all = drawing("path", { class: "all" });
    this.best = drawing("path", { class: "best" });
    this.band = drawing("rect", { class: "band", y: 0, height: HEIGHT, ...this.#place(moment.start, moment.end) });
    this.head = element("i", { class: "head", hidden: true });
    this.image = frameImage({ hidden: true });
    this.time = element("span", {});
    this.tip = element(
      "div",
      { class: "tip", hidden: true, "aria-hidden": "true" },
      element("div", {}, this.image),
      this.time,
    );
    const chart = drawing(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      this.band,
      this.all,
      this.best,
    );
    this.element = element("div", this.#slider(), chart, this.head, this.tip);
    this.#say(this.#at);
    moment.addEventListener("change", this.#moved);
  }

  /** Marks another moment of the film. */
  use(moment) {
    this.moment.removeEventListener("change", this.#moved);
    this.moment = moment;
    moment.addEventListener("change", this.#moved);
    this.#showMoment();
  }

  /** Draws an answer's scores. */
  draw(strip, scale) {
    this.#drawn = { strip, scale };
    setAttributes(this.all, { d: this.#bars(() => true) });
    this.#showMoment();
  }

  #showMoment() {
    const { start, end } = this.moment;
    setAttributes(this.band, this.#place(start, end));
    this.element.style.setProperty("--start", this.#share(start));
    this.element.style.setProperty("--end", this.#share(end));
    if (!this.#drawn) return;
    const inside = (from, to) => (from + to) / 2 >= start && (from + to) / 2 <= end;
    setAttributes(this.best, { d: this.#bars(inside) });
  }

  /** Lets the ends of the moment be dragged while the film is open; keys do it too (`playerKey`). */
  letTrim(onShow) {
    const [secondAt, secondsPerPixel] = [
      (event) => this.#secondAt(event),
      () => this.film.length / Math.max(this.element.getBoundingClientRect().width, 1),
    ];
    const grip = (which) =>
      element("i", {
        class: `end-grip at-${which}`,
        on: {
          pointerdown: (event) => dragEnd(event, which, this.moment, { shots: shotsOf(this.film), secondAt, secondsPerPixel, onShow }),
          click: (event) => event.stopPropagation(),
        },
      });
    this.element.append(grip("start"), grip("end"));
    this.#showMoment();
  }

  /** Marks the seconds that are shown enlarged. */
  showWindow({ from, to }) {
    if (!this.window) this.element.append((this.window = element("i", { class: "window" })));
    this.window.style.setProperty("--from", this.#share(from));
    this.window.style.setProperty("--to", this.#share(to));
  }

  /** Shows where the film plays; null: it does not. */
  showPlaying(second) {
    this.head.hidden = second === null;
    if (second === null) return;
    this.head.style.setProperty("--at", this.#share(second));
    if (document.activeElement !== this.element) this.#say(second);
  }

  #slider() {
    const { name, length } = this.film;
    return {
      class: "strip",
      role: "slider",
      tabindex: "0",
      "aria-label": `${this.what} ${name}: choose a time to play from`,
      "aria-valuemin": 0,
      "aria-valuemax": Math.round(length),
      "aria-orientation": "horizontal",
      on: {
        pointermove: (event) => this.#point(this.#secondAt(event)),
        pointerdown: (event) => this.#point(this.#secondAt(event)),
        pointerleave: () => this.#leave(),
        pointercancel: () => this.#leave(),
        click: (event) => {
          this.#say(this.#secondAt(event));
          this.onSeek(this.#at);
          if (event.pointerType === "touch") this.#leave();
        },
        keydown: (event) => this.#key(event),
        blur: () => this.#leave(),
      },
    };
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = Math.max(1, this.film.length / 100);
    const moves = {
      ArrowRight: step,
      ArrowUp: step,
      ArrowLeft: -step,
      ArrowDown: -step,
      PageUp: 10 * step,
      PageDown: -10 * step,
    };
    if (event.key in moves) this.#point(this.#at + moves[event.key]);
    else if (event.key === "Home") this.#point(0);
    else if (event.key === "End") this.#point(this.film.length);
    else if (event.key === "Enter" || event.key === " ") this.onSeek(this.#at);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #point(second) {
    this.#say(second);
    this.tip.hidden = false;
    this.time.textContent = clock(this.#at);
    this.tip.style.setProperty("--at", this.#share(this.#at));
    clearTimeout(this.#timer);
    if (this.film.available) this.#timer = setTimeout(() => this.#showFrame(), REST);
  }

  #showFrame() {
    const address = thumbnail(this.film.id, this.#pieceAt(this.#at), 120);
    if (address === this.#shown) return;
    this.#shown = address;
    this.image.hidden = false;
    this.image.src = address;
  }

  #leave() {
    clearTimeout(this.#timer);
    this.tip.hidden = true;
  }

  // Frames are fetched for at most 200 places of a film, so that moving along it fetches few.
  #pieceAt(second) {
    const grid = Math.max(0.5, this.film.length / 200);
    return Math.min(Math.round(second / grid) * grid, Math.max(0, this.film.length - 0.1));
  }

  #say(second) {
    this.#at = Math.min(Math.max(second, 0), this.film.length);
    const { start, end } = this.moment;
    const where = this.#at >= start && this.#at < end ? ", in the moment" : "";
    setAttributes(this.element, {
      "aria-valuenow": Math.round(this.#at),
      "aria-valuetext": `${spoken(this.#at)}${where}`,
    });
  }

  #secondAt(event) {
    const box = this.element.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * this.film.length;
  }

  #share(second) {
    return this.film.length > 0 ? Math.min(Math.max(second / this.film.length, 0), 1) : 0;
  }

  #place(start, end) {
    const x = this.#share(start) * WIDTH;
    return { x, width: Math.max(this.#share(end) * WIDTH - x, 4) };
  }

  #bars(wanted) {
    return barsOf(this.#drawn.strip, this.#drawn.scale, (second) => this.#share(second), wanted);
  }
}
