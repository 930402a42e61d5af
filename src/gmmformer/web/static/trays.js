// The trays as they are kept in the browser: named lists of moments, and what they were before each change.

import { Moment, momentKey } from "./moment.js";

const [STORED, FORMERLY] = ["gmmformer.trays", "gmmformer.tray"];
/** Changes that can be undone. */
const MOST_UNDONE = 100;
/** Milliseconds within which changes of one kind to one moment are one change. */
const TOGETHER = 1500;
/** Seconds by which a moment may be off what is kept of it and be the same. */
const SAME = 0.002;
const FIRST = "Tray";

/** Events: "change" (there is something else in the tray). */
export class Trays extends EventTarget {
  #trays = [{ key: FIRST, name: FIRST, items: new Map() }];
  #current = 0;
  #before = []; // {what, state}, the oldest first
  #last = { of: "", at: 0 };
  #alive = new Map(); // moments that are shown, by key

  constructor() {
    super();
    addEventListener("storage", (event) => event.key === STORED && this.#take(event.newValue));
    this.#take(read(STORED) ?? read(FORMERLY));
  }

  /** The moments of the tray that is shown, by key, in order. */
  get items() {
    return this.#trays[this.#current].items;
  }

  /** The names of all trays. */
  get names() {
    return this.#trays.map((tray) => tray.name);
  }

  get current() {
    return this.#current;
  }

  /** What `undo` would undo; null: nothing. */
  get undoable() {
    return this.#before.at(-1)?.what ?? null;
  }

  /** Puts moments in the place of those of the tray. */
  put(items, what, of = "") {
    this.#remember(what, of);
    this.#trays[this.#current].items = new Map(items);
    this.#changed();
  }

  /** Changes what is kept of a moment, if it is kept. */
  change(key, change, what) {
    const item = this.items.get(key);
    if (!item) return;
    this.put(
      [...this.items].map(([own, kept]) => [own, own === key ? { ...kept, ...change } : kept]),
      what,
      `${what} ${key}`,
    );
  }

  /** Shows another tray. */
  choose(index) {
    this.#current = index;
    this.#changed();
  }

  /** Makes a tray, and shows it. */
  create() {
    this.#remember("the new tray");
    let number = this.#trays.length + 1;
    while (this.names.includes(`${FIRST} ${number}`)) number += 1;
    this.#trays = [...this.#trays, { key: `${FIRST} ${Date.now()}`, name: `${FIRST} ${number}`, items: new Map() }];
    this.choose(this.#trays.length - 1);
  }

  rename(name) {
    this.#remember("the tray's new name");
    this.#trays = this.#trays.map((tray, index) => (index === this.#current ? { ...tray, name } : tray));
    this.#changed();
  }

  /** Throws the tray away that is shown. */
  discard() {
    this.#remember(`throwing away “${this.names[this.#current]}”`);
    const left = this.#trays.filter((_, index) => index !== this.#current);
    this.#trays = left.length ? left : [{ key: FIRST, name: FIRST, items: new Map() }];
    this.choose(Math.max(0, this.#current - 1));
  }

  /** Makes everything what it was before the last change; what that was. */
  undo() {
    const last = this.#before.pop();
    if (!last) return null;
    this.#last = { of: "", at: 0 };
    this.#restore(last.state);
    this.#changed();
    return last.what;
  }

  /**
   * A moment of a film as the tray has it, if it does; as it changes, so does what the tray has, and the other way round.
   * Whoever asks for the same one is given the same.
   */
  moment(film, span) {
    const { word = null, query = "" } = span;
    const key = momentKey({ id: film.id, ...(span.found ?? span) });
    const shown = this.#alive.get(key)?.deref();
    if (shown) return Object.assign(shown, { word, query });
    const moment = new Moment(film, span);
    this.#alive.set(key, new WeakRef(moment));
    this.#follow(moment);
    moment.addEventListener("change", () => {
      const kept = this.items.get(key);
      if (kept && Math.max(Math.abs(kept.start - moment.start), Math.abs(kept.end - moment.end)) > SAME) {
        const { start, end, poster } = moment;
        this.change(key, { start, end, poster }, "trimming");
      }
    });
    return moment;
  }

  /** All trays, as they are kept. */
  get told() {
    return this.#trays.map(({ key, name, items }) => ({ key, name, items: [...items.values()] }));
  }

  /** Makes other trays of them, and of what they were: what was done elsewhere, no undo here takes back. */
  mix(change) {
    const shown = this.#trays[this.#current].key;
    const other = ({ current, trays }) => {
      const made = change(trays);
      return { current, trays: made.length ? made : trays };
    };
    const { trays } = other(this.#state());
    if (JSON.stringify(trays) === JSON.stringify(this.told)) return;
    this.#before = this.#before.map(({ what, state }) => ({ what, state: other(state) }));
    this.#restore({ current: Math.max(0, trays.findIndex(({ key }) => key === shown)), trays });
    this.#changed();
  }

  /** Gives films other ids, in whatever is kept of them: those of films that were brought back. */
  renumber(ids) {
    const now = (item) => (ids.has(item.id) ? { ...item, id: ids.get(item.id) } : item);
    const other = ({ current, trays }) => ({ current, trays: trays.map((tray) => ({ ...tray, items: tray.items.map(now) })) });
    this.#before = this.#before.map(({ what, state }) => ({ what, state: other(state) }));
    this.#restore(other(this.#state()));
    this.#changed();
  }

  #follow(moment) {
    const kept = this.items.get(moment.key);
    if (kept) moment.set(kept.start, kept.end);
  }

  #remember(what, of = "") {
    const now = Date.now();
    const goesOn = of && of === this.#last.of && now - this.#last.at < TOGETHER;
    this.#last = { of, at: now };
    if (goesOn) return;
    this.#before = [...this.#before, { what, state: this.#state() }].slice(-MOST_UNDONE);
  }

  #state() {
    return { current: this.#current, trays: this.told };
  }

  #restore(state) {
    this.#trays = state.trays.map(({ key, name, items }) => ({
      key,
      name,
      items: new Map(items.map((item) => [momentKey({ id: item.id, ...(item.found ?? item) }), item])),
    }));
    this.#current = Math.min(Math.max(state.current, 0), this.#trays.length - 1);
  }

  #changed() {
    try {
      localStorage.setItem(STORED, JSON.stringify(this.#state()));
    } catch {
      // A browser that keeps nothing keeps the trays as long as the page.
    }
    this.#tell();
  }

  #tell() {
    for (const [key, shown] of this.#alive) {
      const moment = shown.deref();
      if (moment) this.#follow(moment);
      else this.#alive.delete(key);
    }
    this.dispatchEvent(new Event("change"));
  }

  #take(text) {
    try {
      const told = JSON.parse(text ?? "[]");
      const trays = Array.isArray(told) ? [{ key: FIRST, name: FIRST, items: told }] : told.trays;
      const whole = trays.map(({ key, name, items }) => ({ key: String(key ?? name), name: String(name), items: items.filter(isItem) }));
      if (whole.length) this.#restore({ trays: whole, current: Number(told.current) || 0 });
    } catch {
      // What is no tray is none.
    }
    this.#tell();
  }
}

function isItem(item) {
  return Number.isInteger(item?.id) && item.end > item.start && (!item.found || item.found.end > item.found.start);
}

function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
