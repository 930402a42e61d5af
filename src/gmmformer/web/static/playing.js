// What plays in a view: one film at a time; the address says which.

import { spotFor, spotOf, writeAddress } from "./address.js";

/** @import { Card } from "./card.js" */
/** @import { FilmCard } from "./film_card.js" */

/** Which card of a view has an open film: one at a time, and the address says which. */
export class Playing {
  #expected = "";

  /**
   * @param {{state: Object, root: HTMLElement, cards: Array<Card | FilmCard>}} view
   * @param {function(string): void} openFilm opens large what has no card
   */
  constructor(view, openFilm) {
    this.view = view;
    this.openFilm = openFilm;
  }

  /** Lets a film be opened as soon as its card is there. */
  expect(spot) {
    this.#expected = spot;
  }

  /** Opens what is expected; cards are there. */
  resume() {
    const spot = this.#expected;
    this.#expected = "";
    if (!spot) return;
    const { id, ...span } = spotOf(spot);
    const card = this.view.cards.find((one) => one.film.id === id && one.film.available);
    if (card) card.resume(span);
    else this.openFilm(spot);
  }

  /** Puts elements into a list. What plays would stop if it were taken out and put back: it stays, the others go around it. */
  order(list, elements) {
    const still = elements.indexOf(this.view.cards.find((card) => card.screen.open)?.element);
    if (still < 0) return list.replaceChildren(...elements);
    const wanted = new Set(elements);
    for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
    elements[still].before(...elements.slice(0, still));
    return elements[still].after(...elements.slice(still + 1));
  }

  opened(card) {
    this.view.cards.forEach((other) => other !== card && other.close());
    this.#say(spotFor(card.film, card.moment));
  }

  closed(card) {
    if (this.view.state.play === spotFor(card.film, card.moment)) this.#say("");
  }

  /** Closes whatever is open, and puts the focus on its card; whether there was anything. */
  close() {
    const open = this.view.cards.filter((card) => card.screen.open);
    open.forEach((card) => {
      card.close();
      card.screen.toggle.focus();
    });
    return open.length > 0;
  }

  /** As `close`, for a view that is left: the address is another one's. */
  leave() {
    this.view.state = { ...this.view.state, play: "" };
    this.close();
  }

  #say(play) {
    if (this.view.root.hidden || this.view.state.play === play) return;
    this.view.state = { ...this.view.state, play };
    writeAddress(this.view.state, false);
  }
}
