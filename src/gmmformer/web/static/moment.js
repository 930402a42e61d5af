// A moment of a film that can be changed: from which second to which, as it was found and as it is now.

/** Seconds that a moment has at least: a frame of a fast film. */
export const LEAST = 1 / 60;

/** What tells a moment from all others, however it is changed: the film, and where it was found. */
export function momentKey({ id, start, end }) {
  return `${id}:${start}:${end}`;
}

/** The event "change" says that it begins or ends elsewhere. */
export class Moment extends EventTarget {
  #best;

  /**
   * @param {{id: number, film: string, name: string, length: number}} film
   * @param {{start: number, end: number, poster?: number, found?: {start: number, end: number}, word?: string,
   *     query?: string}} span seconds; `poster` is the frame that stands for it, `found` where it was before anybody
   *     changed it, `word` how well it matches `query`
   */
  constructor(film, { start, end, poster, found = { start, end }, word = null, query = "" }) {
    super();
    this.film = film;
    this.start = start;
    this.end = end;
    this.found = found;
    this.word = word;
    this.query = query;
    this.#best = poster ?? (start + end) / 2;
    this.key = momentKey({ id: film.id, ...found });
  }

  get length() {
    return this.end - this.start;
  }

  /** The second of the frame that stands for it: its middle where the best one is no longer in it. */
  get poster() {
    return this.#best >= this.start && this.#best <= this.end ? this.#best : (this.start + this.end) / 2;
  }

  /** What a tray keeps of it. */
  get item() {
    const { start, end, poster, found, query } = this;
    const { id, film, name } = this.film;
    return { id, film, name, start, end, poster, found, query };
  }

  /** Whether it is another span than the one that was found. */
  get changed() {
    return this.start !== this.found.start || this.end !== this.found.end;
  }

  /** Lets it begin at a second. What would begin after its end is moved as a whole. */
  begin(second) {
    const start = this.#within(second, this.film.length - LEAST);
    this.set(start, start < this.end - LEAST / 2 ? this.end : start + this.length);
  }

  /** Lets it end at a second. What would end before its start is moved as a whole. */
  finish(second) {
    const end = Math.max(this.#within(second, this.film.length), LEAST);
    this.set(end > this.start + LEAST / 2 ? this.start : end - this.length, end);
  }

  /** Lets it be from a second to another one, within its film. */
  set(start, end) {
    const last = Math.max(this.film.length, LEAST);
    const from = this.#within(start, last - LEAST);
    const to = Math.min(Math.max(end, from + LEAST), last);
    if (from === this.start && to === this.end) return;
    [this.start, this.end] = [from, to];
    this.dispatchEvent(new Event("change"));
  }

  /** Makes it what was found. */
  reset() {
    this.set(this.found.start, this.found.end);
  }

  #within(second, last) {
    return Math.min(Math.max(Math.round(second * 1000) / 1000, 0), Math.max(last, 0));
  }
}
