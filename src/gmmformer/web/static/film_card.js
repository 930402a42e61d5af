// A film of the library: a frame that plays the whole film, its name and length.

import { element } from "./dom.js";
import { shortFolder } from "./folders.js";
import { clock } from "./format.js";
import { Screen } from "./screen.js";

/** A card in a list of films. */
export class FilmCard {
  /** @param {Object} film  @param {function(FilmCard)} onOpen */
  constructor(film, onOpen) {
    this.film = film;
    this.screen = new Screen(
      film,
      { start: 0, end: film.length, poster: film.length / 3 },
      { onOpen: () => onOpen(this) },
    );
    this.folder = element("p", { class: "folder", title: film.folder });
    const parts = [
      this.screen.element,
      element(
        "div",
        { class: "line" },
        element("h2", { title: film.film }, film.name),
        element("span", { class: "times" }, clock(film.length)),
      ),
      this.folder,
    ];
    this.element = element("li", { class: "card film" }, ...parts);
    this.showFolder();
  }

  /** Shows the folder as the library's other folders make it short. */
  showFolder() {
    this.folder.textContent = shortFolder(this.film.folder);
  }

  focus() {
    this.screen.toggle.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.screen.close();
  }
}
