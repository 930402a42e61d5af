// What is shown before anything is asked: what the page is for, and some films of the library.

import { films, isPassing, library } from "./api.js";
import { Again } from "./connection.js";
import { element } from "./dom.js";
import { FilmCard } from "./film_card.js";
import { duration, plural } from "./format.js";

/** @import { Tray } from "./tray.js" */
/** @import { Viewers } from "./viewers.js" */

const SHELF = 12;

/** The start of the search view. */
export class Start {
  /** Its films, in order. */
  cards = [];
  #again = new Again(() => this.shown && this.show());

  /** @param {{tray: Tray, viewer: Viewers, onOpen: function(FilmCard): void, onClose: function(FilmCard): void}} surroundings of its cards
   *  @param {function(): void} onShow told when they are there */
  constructor(surroundings, onShow) {
    this.surroundings = surroundings;
    this.onShow = onShow;
    this.lead = element("p", { class: "lead" }, "\u00a0");
    this.shelf = element("ol", { class: "cards", "aria-label": "Films of the library" });
    this.element = element(
      "div",
      { class: "start", hidden: true },
      element("h2", {}, "Find the moment"),
      this.lead,
      keys(),
      this.shelf,
    );
  }

  get shown() {
    return !this.element.hidden;
  }

  /** Shows it; what it says about the library comes a little later. */
  async show() {
    this.element.hidden = false;
    if (!this.cards.length) this.shelf.replaceChildren(...Array.from({ length: 8 }, filmSkeleton));
    try {
      const [held, found] = await Promise.all([library(), films({ limit: SHELF })]);
      this.lead.textContent = held.films
        ? `${plural(held.films, "film")}, ${duration(held.seconds)}. Describe what is to be seen, in your own words.`
        : "This library has no films yet. They show up here as soon as “gmmformer index” has taken them in.";
      this.#fill(found.films);
      this.#again.done();
      this.onShow();
    } catch (error) {
      if (isPassing(error)) this.#again.wait(error); // the page says what is wrong
      else if (!this.cards.length) this.shelf.replaceChildren();
    }
  }

  hide() {
    this.element.hidden = true;
    this.cards.forEach((card) => card.close());
  }

  #fill(found) {
    if (this.cards.some((card) => card.screen.open)) return;
    const known = this.cards.map((card) => card.film.id).join();
    if (known && known === found.map((film) => film.id).join()) return;
    this.cards = found.map((film) => new FilmCard(film, this.surroundings));
    this.shelf.replaceChildren(...this.cards.map((card) => card.element));
  }
}

function keys() {
  const key = (name, what) => element("span", {}, element("kbd", {}, name), ` ${what}`);
  return element(
    "p",
    { class: "keys" },
    key("/", "to the box"),
    key("↓", "to the results"),
    key("space", "plays"),
    key("e", "trims"),
    key("t", "into the tray"),
    key("esc", "closes"),
  );
}

const bone = (classes) => element("i", { class: `bone ${classes}` });
const bones = (...parts) =>
  element("li", { class: "card skeleton", "aria-hidden": "true" }, element("div", { class: "screen" }), ...parts);

/** A result that is not there yet. */
export function skeleton() {
  return bones(bone("strip"), bone("times"), bone("name"), bone("buttons"));
}

/** A film that is not there yet. */
export function filmSkeleton() {
  return bones(bone("times"), bone("folder"));
}
