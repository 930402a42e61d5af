// A film of the library: a frame that plays the whole film, its name and length.

import { playerKey } from "./controls.js";
import { element } from "./dom.js";
import { shortFolder } from "./folders.js";
import { clock } from "./format.js";
import { Moment } from "./moment.js";
import { Screen } from "./screen.js";
import { trimButton } from "./viewer.js";

/** @import { Tray } from "./tray.js" */
/** @import { Viewer } from "./viewer.js" */

/** Seconds that a moment chosen by hand has at first. */
const BY_HAND = 10;

/** A card in a list of films. */
export class FilmCard {
  /** @param {Object} film  @param {{tray: Tray, viewer: Viewer, onOpen: function(FilmCard): void}} surroundings */
  constructor(film, { tray, viewer, onOpen }) {
    this.film = film;
    this.tray = tray;
    this.viewer = viewer;
    this.moment = new Moment(film, { start: 0, end: film.length, poster: film.length / 3 });
    this.screen = new Screen(film, this.moment, { onOpen: () => onOpen(this) });
    this.folder = element("p", { class: "folder", title: film.folder });
    this.trim = trimButton(film.name, () => this.openViewer(), !film.available);
    const parts = [
      this.screen.element,
      element(
        "div",
        { class: "line" },
        element("h2", { title: film.film }, film.name),
        element("span", { class: "times" }, clock(film.length)),
      ),
      element("div", { class: "line actions" }, this.folder, this.trim),
    ];
    const key = (event) => playerKey(event, this.screen) && event.preventDefault();
    this.element = element("li", { class: "card film", on: { keydown: key } }, ...parts);
    this.showFolder();
  }

  /** Shows the folder as the library's other folders make it short. */
  showFolder() {
    this.folder.textContent = shortFolder(this.film.folder);
  }

  /** Opens it large, to choose a moment of it by hand: what was marked here, or from where it is on. */
  openViewer() {
    const { film, moment } = this;
    if (!film.available) return;
    const start = this.screen.open ? this.screen.time : 0;
    const { start: from, end: to } = moment.changed ? moment : { start, end: Math.min(start + BY_HAND, film.length) };
    this.close();
    moment.reset();
    this.viewer.open(film, this.tray.moment(film, { start: from, end: to }), { onClose: () => this.trim.focus() });
  }

  focus() {
    this.screen.toggle.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.screen.close();
  }
}
