// A film of the library: a frame that plays the whole film, its name and length.

import { playerKey } from "./controls.js";
import { element, icon } from "./dom.js";
import { shortFolder } from "./folders.js";
import { clock } from "./format.js";
import { Moment } from "./moment.js";
import { Screen } from "./screen.js";
import { trimButton } from "./viewer.js";

/** Seconds that a moment chosen by hand has at first. */
const CHOSEN = 10;

/** A card in a list of films. */
export class FilmCard {
  /** @param {Object} film  @param {{tray: Tray, viewer: Viewer, onOpen: function(FilmCard)}} surroundings */
  constructor(film, { tray, viewer, onOpen }) {
    Object.assign(this, { film, tray, viewer });
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

  /** Opens it large, to choose a moment of it by hand, from where it is now. */
  openViewer() {
    const { film, tray } = this;
    if (!film.available) return;
    const start = this.screen.open ? this.screen.time : 0;
    const moment = this.moment.changed
      ? this.moment
      : new Moment(film, { start, end: Math.min(start + CHOSEN, film.length) });
    this.close();
    const keep = element("button", { type: "button", class: "small" }, icon("add"), "Tray");
    keep.setAttribute("aria-label", `Keep this moment of ${film.name} in the tray`);
    keep.addEventListener("click", () => {
      const { start: from, end } = moment;
      const item = { id: film.id, film: film.film, name: film.name, start: from, end, poster: from, query: "" };
      tray.add(`${film.id}:${from}:${end}`, { ...item, found: { start: from, end } });
    });
    this.viewer.open(film, moment, { actions: [keep], onClose: () => this.trim.focus() });
  }

  focus() {
    this.screen.toggle.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.screen.close();
  }
}
