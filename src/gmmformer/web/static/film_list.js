// All films of the library in one list, however many: only those around what is seen are there, asked for as they come near.

import { isAborted, isPassing } from "./api.js";
import { Again } from "./connection.js";
import { element, setAttributes, within } from "./dom.js";
import { filmSkeleton } from "./start.js";

/** @import { FilmCard } from "./film_card.js" */

/** Films that are asked for at once. */
const CHUNK = 24;
/** Screens of films that are there above and below the one that is seen. */
const AHEAD = 1;
/** A film that plays stays there when it is no further away than this many. */
const KEPT = 240;
/** Milliseconds of rest before what has come near is asked for, so that what is only passed is not. */
const REST = 60;
/** Films that seem to be there before anything is known. */
const BONES = 8;

/** The list. The event "moved" says that `first` is another one. */
export class FilmList extends EventTarget {
  #films = new Map(); // by place, as far as they are known; null: there turned out to be none
  #items = new Map(); // what is in the list, by place: {told, card, element}
  #asked = new Map(); // requests by chunk
  #timer = 0;
  #frame = 0;
  #shape = ""; // columns, and how high a row is
  #goal = null; // {place, focus}: which film is to be seen as soon as it is known
  #again = new Again(() => this.#load());
  /** How many films there are; null: not known yet. */
  total = null;
  /** The place of the first film that is seen. */
  first = 0;

  /**
   * @param {{ask: function(number, number, AbortSignal): Promise<{total: number, films: Object[]}>,
   *     make: function(Object): FilmCard, onAnswer: function(Object): void, onShow: function(): void, onError: function(Error): void}} source `ask` gives so many
   *     films from a place on, `make` their cards
   */
  constructor({ ask, make, onAnswer, onShow, onError }) {
    super();
    this.ask = ask;
    this.make = make;
    this.onAnswer = onAnswer;
    this.onShow = onShow;
    this.onError = onError;
    this.element = element("ol", { class: "cards long", "aria-label": "Films", on: { keydown: (event) => this.#key(event) } });
    addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#soon()).observe(this.element);
  }

  /**
   * The films that are there, in order.
   * @returns {FilmCard[]}
   */
  get cards() {
    const places = [...this.#items.keys()].sort((one, other) => one - other);
    return places.map((place) => this.#items.get(place).card).filter(Boolean);
  }

  /** Asks for all anew, to be seen from one of them on; what is shown stays until something else has come. */
  show(first) {
    this.stop();
    this.#films.clear();
    this.#goal = first ? { place: first, focus: false } : null;
    if (!this.#items.size) this.element.replaceChildren(...Array.from({ length: BONES }, filmSkeleton));
    return this.#load();
  }

  /** Asks for nothing more. */
  stop() {
    this.#again.stop();
    clearTimeout(this.#timer);
    for (const request of this.#asked.values()) request.abort();
    this.#asked.clear();
  }

  #soon() {
    if (this.#frame || this.total === null) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  #render() {
    if (this.element.offsetParent === null) return; // another view is shown
    const { columns, height } = this.#measure();
    if (this.first && `${columns} ${height}` !== this.#shape) this.#goal ??= { place: this.first, focus: false };
    this.#shape = `${columns} ${height}`;
    const { from, to, first } = this.#range(columns, height);
    this.#place(from, to);
    const [above, below] = [from / columns, Math.ceil(this.total / columns) - Math.ceil(to / columns)];
    this.element.style.paddingTop = `${above * height}px`;
    this.element.style.paddingBottom = `${below * height}px`;
    if (this.#goal) {
      if (this.#measure().height !== height) return this.#render();
      this.#reach();
    } else if (first !== this.first) {
      this.first = first;
      this.dispatchEvent(new Event("moved"));
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#load(), REST);
  }

  // Rows are as high as a card, with the gap below it.
  #measure() {
    const { gridTemplateColumns, rowGap } = getComputedStyle(this.element);
    const one = this.cards[0]?.element ?? this.element.children[0];
    const height = one ? one.getBoundingClientRect().height + parseFloat(rowGap) : innerHeight / 3;
    return { columns: gridTemplateColumns.split(" ").length, height };
  }

  // Which places are to be there: whole rows.
  #range(columns, height) {
    const rows = Math.ceil(this.total / columns);
    const row = (pixels) => Math.min(Math.max(Math.floor(pixels / height), 0), rows);
    const goal = this.#goal && Math.floor(Math.min(this.#goal.place, this.total - 1) / columns) * height;
    const above = goal ?? -this.element.getBoundingClientRect().top;
    const last = this.total;
    let from = row(above - AHEAD * innerHeight) * columns;
    let to = Math.min((row(above + (1 + AHEAD) * innerHeight) + 1) * columns, last);
    const playing = [...this.#items].find(([, { card }]) => card?.screen.open)?.[0] ?? from;
    if (playing < from && from - playing < KEPT) from = playing - (playing % columns);
    if (playing >= to && playing - to < KEPT) to = Math.min(playing - (playing % columns) + columns, last);
    return { from, to, first: Math.min(row(above + height / 2) * columns, Math.max(last - 1, 0)) };
  }

  // A film that plays would stop if it were taken out and put back: what stays is not touched.
  #place(from, to) {
    for (const [place, { card, element: own }] of this.#items) {
      if (place >= from && place < to) continue;
      card?.drop();
      own.remove();
      this.#items.delete(place);
    }
    if (!this.#items.size) this.element.replaceChildren();
    for (let place = from; place < to; place += 1) {
      const [film, item] = [this.#films.get(place), this.#items.get(place)];
      const told = film ? JSON.stringify(film) : "";
      if (item && (!film || item.told === told)) setAttributes(item.element, { "aria-setsize": item.card && this.total });
      else this.#put(place, place - from, film, told);
    }
  }

  #put(place, index, film, told) {
    const card = film ? this.make(film) : null;
    const made = card ? card.element : filmSkeleton();
    const before = this.#items.get(place);
    const focused = before?.element.contains(document.activeElement);
    before?.card?.drop();
    if (before) before.element.replaceWith(made);
    else this.element.insertBefore(made, this.element.children[index] ?? null);
    if (card) setAttributes(made, { "aria-setsize": this.total, "aria-posinset": place + 1 });
    this.#items.set(place, { told, card, element: made });
    if (focused) card?.focus();
  }

  #reach() {
    const { place, focus } = this.#goal;
    const item = this.#items.get(Math.min(place, this.total - 1));
    item?.element.scrollIntoView({ block: "start" });
    if (item && !item.card) return; // until it is known how high it is
    this.#goal = null;
    if (focus) item?.card.focus();
  }

  #load() {
    const wanted = [...this.#items.keys()];
    if (this.#goal || !wanted.length) wanted.push(this.#goal?.place ?? 0);
    const near = new Set(wanted.filter((place) => !this.#films.has(place)).map((place) => Math.floor(place / CHUNK)));
    for (const [chunk, request] of this.#asked)
      if (!near.has(chunk)) {
        request.abort();
        this.#asked.delete(chunk);
      }
    return Promise.all([...near].filter((chunk) => !this.#asked.has(chunk)).map((chunk) => this.#fetch(chunk)));
  }

  async #fetch(chunk) {
    const request = new AbortController();
    const wanted = () => this.#asked.get(chunk) === request;
    this.#asked.set(chunk, request);
    try {
      const answer = await this.ask(chunk * CHUNK, CHUNK, request.signal);
      if (!wanted()) return;
      this.#asked.delete(chunk);
      this.#again.done();
      this.#take(chunk * CHUNK, answer);
    } catch (error) {
      if (isAborted(error) || !wanted()) return;
      this.#asked.delete(chunk);
      if (isPassing(error)) this.#again.wait(error);
      else if (!this.#items.size) this.element.replaceChildren();
      this.onError(error);
    }
  }

  #take(offset, answer) {
    const { total, films } = answer;
    if (total !== this.total) this.#films.clear(); // others have come between, or other films are asked for
    this.total = total;
    for (let index = 0; index < CHUNK && offset + index < total; index += 1)
      this.#films.set(offset + index, films[index] ?? null);
    this.onAnswer(answer);
    this.#render();
    this.onShow();
  }

  #key(event) {
    const place = { Home: 0, End: this.total - 1 }[event.key];
    if (place === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    if (within(event).matches("input, select, [role=slider]")) return;
    event.preventDefault();
    this.#goal = { place, focus: true };
    this.#render();
  }
}
