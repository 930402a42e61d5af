// Where shots of a film begin, and when its frames do: fetched piece by piece, kept for as long as the page.

import { isPassing, shots } from "./api.js";
import { Again } from "./connection.js";

/** Seconds of a film that are asked for at once. */
const PIECE = 30;
/** Frames per second of a film that does not say. */
const USUAL_RATE = 25;
const known = new Map();

/** The frames and shots of a film; the same for all who ask. */
export function shotsOf(film) {
  if (!known.has(film.id)) known.set(film.id, new Shots(film));
  return known.get(film.id);
}

/** The event "change" says that more is known. */
class Shots extends EventTarget {
  #pieces = new Map();
  #missing = new Set(); // pieces that did not come, for the network
  #again = new Again(() => this.#missing.forEach((piece) => this.#piece(piece)));
  /** Seconds at which shots begin, as far as they are known, in order. */
  seconds = [];
  /** Frames per second. */
  rate = USUAL_RATE;

  constructor(film) {
    super();
    this.film = film;
  }

  /** Learns the shots between two seconds. */
  async load(from, to) {
    if (!this.film.available) return;
    const first = Math.floor(Math.max(from, 0) / PIECE);
    const last = Math.floor(Math.min(to, this.film.length - 0.01) / PIECE);
    const wanted = Array.from({ length: Math.max(last - first + 1, 0) }, (_, index) => first + index);
    await Promise.all(wanted.map((piece) => this.#piece(piece)));
  }

  /** The shot that begins nearest to a second, if one does within so many seconds. */
  near(second, within) {
    const gap = (shot) => Math.abs(shot - second);
    const best = this.seconds.reduce((one, other) => (gap(other) < gap(one) ? other : one), Infinity);
    return gap(best) <= within ? best : null;
  }

  /** The next shot after a second, or before it; the film's end, or its beginning, where none is known. */
  async next(second, forward) {
    await this.load(second - PIECE, second + PIECE);
    const half = 0.5 / this.rate;
    return forward
      ? (this.seconds.find((shot) => shot > second + half) ?? Math.min(second + PIECE, this.film.length))
      : (this.seconds.findLast((shot) => shot < second - half) ?? Math.max(second - PIECE, 0));
  }

  /** The second at which the frame on screen at a second began, or so many frames later. */
  frame(second, later = 0) {
    return Math.max(0, (Math.floor(second * this.rate + 0.01) + later) / this.rate);
  }

  #piece(number) {
    if (!this.#pieces.has(number)) {
      const start = number * PIECE;
      const asked = shots(this.film.id, start, Math.min(start + PIECE, this.film.length))
        .then((told) => this.#take(number, told))
        .catch((error) => this.#miss(number, error)); // nothing to snap to, for now
      this.#pieces.set(number, asked);
    }
    return this.#pieces.get(number);
  }

  #miss(number, error) {
    this.#pieces.delete(number);
    if (!isPassing(error)) return;
    this.#missing.add(number);
    this.#again.wait(error);
  }

  #take(number, { rate, shots: found }) {
    this.#missing.delete(number);
    if (!this.#missing.size) this.#again.done();
    this.rate = rate ?? USUAL_RATE;
    this.seconds = [...this.seconds, ...found].sort((one, other) => one - other);
    this.dispatchEvent(new Event("change"));
  }
}
