// A part of a film's strip, enlarged: where shots begin, and two handles that move the ends of a moment.

import { drawing, element, setAttributes } from "./dom.js";
import { dragEnd, follow, moveEnd } from "./ends.js";
import { clock, fine, spoken } from "./format.js";
import { shotsOf } from "./shots.js";
import { HEIGHT, WIDTH, barsOf } from "./strip.js";

/** @import { Moment } from "./moment.js" */

/** Seconds that it shows at least, and up to how many shots are looked for in all of them. */
const [NARROWEST, LOOKED_THROUGH] = [1, 150];
/** How many times longer than the moment it is at first, and how many seconds at least. */
const [AROUND, ROOM] = [2.4, 12];
const ZOOM = 1.5;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];
const ENDS = { start: "Start", end: "End" };

/** The seconds around a moment. The event "view" says that it shows others. */
export class Lens extends EventTarget {
  #drawn = null;
  #moved = () => this.#show();

  /**
   * @param {Object} film
   * @param {Moment} moment
   * @param {{onShow: function(number): void, onSeek: function(number): void}} listeners told which second to show, or to play from
   */
  constructor(film, moment, { onShow, onSeek }) {
    super();
    this.film = film;
    this.moment = moment;
    this.onShow = onShow;
    this.onSeek = onSeek;
    this.shots = shotsOf(film);
    this.view = { from: 0, to: film.length };
    this.band = drawing("rect", { class: "band", y: 0, height: HEIGHT });
    this.all = drawing("path", { class: "all" });
    this.best = drawing("path", { class: "best" });
    this.lines = drawing("path", { class: "shots", "vector-effect": "non-scaling-stroke" });
    this.ruler = element("div", { class: "ruler", "aria-hidden": "true" });
    this.head = element("i", { class: "head" });
    this.handles = { start: this.#handle("start"), end: this.#handle("end") };
    const chart = drawing(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      ...[this.band, this.all, this.best, this.lines],
    );
    this.element = element(
      "div",
      {
        class: "lens",
        on: {
          pointerdown: (event) => this.#scrub(event),
          wheel: (event) => this.#wheel(event),
          dblclick: (event) => this.onSeek(this.#secondAt(event)),
        },
      },
      ...[chart, this.head, this.handles.start, this.handles.end, this.ruler],
    );
    this.shots.addEventListener("change", this.#moved);
    this.use(moment);
  }

  /** Enlarges another moment of the film. */
  use(moment) {
    this.moment.removeEventListener("change", this.#moved);
    this.moment = moment;
    moment.addEventListener("change", this.#moved);
    this.fit();
  }

  /** Ends it: nobody is listened to any more. */
  drop() {
    this.moment.removeEventListener("change", this.#moved);
    this.shots.removeEventListener("change", this.#moved);
  }

  /** Shows the moment and what is around it. */
  fit() {
    const { start, end, length } = this.moment;
    const span = Math.max(length * AROUND, ROOM);
    this.look((start + end - span) / 2, (start + end + span) / 2);
  }

  /** Shows some seconds of the film. */
  look(from, to) {
    const span = Math.min(Math.max(to - from, NARROWEST), this.film.length);
    const first = Math.min(Math.max((from + to - span) / 2, 0), this.film.length - span);
    this.view = { from: first, to: first + span };
    const { start, end } = this.moment;
    if (span <= LOOKED_THROUGH) this.shots.load(first, first + span);
    else [start, end].forEach((second) => this.shots.load(second - 5, second + 5));
    this.#show();
    this.dispatchEvent(new Event("view"));
  }

  /** Shows more, or less, around a second; without one around the moment's middle. */
  zoom(closer, second = (this.moment.start + this.moment.end) / 2) {
    const factor = closer ? 1 / ZOOM : ZOOM;
    const { from, to } = this.view;
    this.look(second - (second - from) * factor, second + (to - second) * factor);
  }

  /** Draws an answer's scores. */
  draw(strip, scale) {
    this.#drawn = { strip, scale };
    this.#show();
  }

  /** Shows where the film plays, and goes there. */
  showPlaying(second) {
    const { from, to } = this.view;
    if (second > to + 0.05 && second < to + (to - from)) this.look(to, to + to - from);
    else if (second < from - 0.05 || second > to + 0.05) this.look(second - (to - from) / 2, second + (to - from) / 2);
    this.head.style.setProperty("--at", this.#share(second));
  }

  get #ground() {
    const [secondAt, secondsPerPixel] = [(event) => this.#secondAt(event), () => this.#secondsPerPixel()];
    return { shots: this.shots, secondAt, secondsPerPixel, onShow: this.onShow };
  }

  #handle(which) {
    const label = `${ENDS[which]} of the moment`;
    return element("div", {
      class: `handle ${which}`,
      role: "slider",
      tabindex: "0",
      "aria-label": label,
      "aria-valuemin": 0,
      "aria-valuemax": Math.round(this.film.length),
      title: `${label}: drag, or move it by arrows`,
      on: {
        pointerdown: (event) => {
          dragEnd(event, which, this.moment, this.#ground);
          this.handles[which].focus();
        },
        keydown: (event) => this.#key(event, which),
      },
    });
  }

  #show() {
    const { start, end } = this.moment;
    const [left, right] = [this.#share(start), this.#share(end)];
    setAttributes(this.band, { x: left * WIDTH, width: Math.max(right - left, 0.001) * WIDTH });
    for (const which of ["start", "end"]) {
      const share = which === "start" ? left : right;
      const handle = this.handles[which];
      const second = this.moment[which];
      handle.style.setProperty("--at", share);
      handle.classList.toggle("beyond", share < 0 || share > 1);
      setAttributes(handle, {
        "aria-valuenow": second.toFixed(2),
        "aria-valuetext": `${spoken(second)}${second % 1 > 0.005 ? ` and ${Math.round((second % 1) * 100)} hundredths` : ""}`,
      });
    }
    const seen = this.shots.seconds.filter((second) => second > this.view.from && second < this.view.to);
    const lines = seen.map((second) => `M${(this.#share(second) * WIDTH).toFixed(1)} 0V${HEIGHT}`);
    setAttributes(this.lines, { d: lines.join("") });
    this.#showRuler();
    if (this.#drawn) this.#showScores();
  }

  #showScores() {
    const { strip, scale } = this.#drawn;
    const { start, end } = this.moment;
    const share = (second) => Math.min(Math.max(this.#share(second), 0), 1);
    const seen = (from, to) => to > this.view.from && from < this.view.to;
    setAttributes(this.all, { d: barsOf(strip, scale, share, seen) });
    const inside = (from, to) => seen(from, to) && (from + to) / 2 >= start && (from + to) / 2 <= end;
    setAttributes(this.best, { d: barsOf(strip, scale, share, inside) });
  }

  #showRuler() {
    const { from, to } = this.view;
    const step = STEPS.find((seconds) => (to - from) / seconds <= 7) ?? STEPS.at(-1);
    const marks = [];
    for (let index = Math.ceil(from / step); index * step < to; index += 1) {
      const mark = element("span", {}, step < 1 ? fine(index * step) : clock(index * step));
      mark.style.setProperty("--at", this.#share(index * step));
      marks.push(mark);
    }
    this.ruler.replaceChildren(...marks);
  }

  #key(event, which) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 1 : 1 / this.shots.rate;
    const by = { ArrowRight: step, ArrowUp: step, ArrowLeft: -step, ArrowDown: -step }[event.key];
    if (by) moveEnd(which, this.shots.frame(this.moment[which] + 1e-4) + by, this.moment, this.#ground);
    else if (event.key === "PageUp" || event.key === "PageDown")
      this.shots.next(this.moment[which], event.key === "PageUp").then((second) => moveEnd(which, second, this.moment, this.#ground));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #scrub(event) {
    if (event.button !== 0) return;
    const show = (moved) => this.onShow(Math.min(Math.max(this.#secondAt(moved), 0), this.film.length));
    follow(event, this.element, show);
    show(event);
  }

  #wheel(event) {
    const { from, to } = this.view;
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      const by = ((event.deltaX || event.deltaY) / 600) * (to - from);
      this.look(from + by, to + by);
    } else this.zoom(event.deltaY < 0, this.#secondAt(event));
  }

  #secondAt(event) {
    return this.view.from + (event.clientX - this.element.getBoundingClientRect().left) * this.#secondsPerPixel();
  }

  #secondsPerPixel() {
    return (this.view.to - this.view.from) / Math.max(this.element.getBoundingClientRect().width, 1);
  }

  #share(second) {
    return (second - this.view.from) / Math.max(this.view.to - this.view.from, 1e-6);
  }
}
