// A film of the library: a frame that plays the whole film, its name and length.

import { trimButton } from "./actions.js";
import { playerKey } from "./controls.js";
import { element, iconButton } from "./dom.js";
import { shortFolder } from "./folders.js";
import { clock } from "./format.js";
import { working } from "./messages.js";
import { Moment } from "./moment.js";
import { Roving } from "./roving.js";
import { Screen } from "./screen.js";

/** @import { Tray } from "./tray.js" */
/** @import { Viewers } from "./viewers.js" */

/** Seconds that a moment chosen by hand has at first. */
const BY_HAND = 10;

/** A card in a list of films. */
export class FilmCard {
  /**
   * @param {Object} film
   * @param {{tray: Tray, viewer: Viewers, onOpen: function(FilmCard): void, onClose: function(FilmCard): void, remove?: function(Object): Promise<void>}} surroundings
   *   `remove` takes a film out of the library
   */
  constructor(film, { tray, viewer, onOpen, onClose, remove }) {
    this.film = film;
    this.tray = tray;
    this.viewer = viewer;
    this.moment = new Moment(film, { start: 0, end: film.length, poster: film.length / 3 });
    this.screen = new Screen(film, this.moment, { onOpen: () => onOpen(this), onClose: () => onClose(this) });
    this.folder = element("p", { class: "folder", title: film.folder });
    this.trim = trimButton(film.name, () => this.openViewer(), !film.available);
    this.bin = removeButton(film.name, () => remove(film));
    const parts = [
      this.screen.element,
      element(
        "div",
        { class: "line" },
        element("h2", { title: film.film }, film.name),
        element("span", { class: "times" }, film.lines ? `${clock(film.length)} · ${film.lines}p` : clock(film.length)),
      ),
      element("div", { class: "line actions" }, this.folder, this.trim, this.bin),
    ];
    const key = (event) => (this.#removes(event) || playerKey(event, this.screen)) && event.preventDefault();
    this.element = element("li", { class: "card film", on: { keydown: key } }, ...parts);
    new Roving(this.element, ".controls :is(button, select, input), .actions button", ".actions button");
    this.showFolder();
  }

  #removes(event) {
    if (event.key !== "Delete" || this.bin.hidden) return false;
    this.bin.click();
    return true;
  }

  /** Shows the folder as the library's other folders make it short. */
  showFolder() {
    this.folder.textContent = shortFolder(this.film.folder);
  }

  /** Whether it can be taken out of the library here. */
  set removable(able) {
    this.bin.hidden = !able;
  }

  /** Opens it large, to choose a moment of it by hand: what was marked here, or from where it is on. */
  async openViewer() {
    const { film, moment } = this;
    if (!film.available) return;
    await this.viewer.fetch();
    const start = this.screen.open ? this.screen.time : 0;
    const { start: from, end: to } = moment.changed ? moment : { start, end: Math.min(start + BY_HAND, film.length) };
    this.close();
    moment.reset();
    this.viewer.open(film, this.tray.moment(film, { start: from, end: to }), { onClose: () => this.trim.focus() });
  }

  /** Shows the film at a second, ready to be played. */
  resume({ start }) {
    this.screen.show(start);
  }

  focus() {
    this.screen.toggle.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.screen.close();
  }

  /** Closes it for good. */
  drop() {
    this.screen.drop();
  }
}

function removeButton(name, job) {
  const button = iconButton("bin", `Take ${name} out of the library`, () => working(button, job));
  button.title = "Take out of the library; its file stays (Delete)";
  button.setAttribute("aria-keyshortcuts", "Delete");
  button.hidden = true;
  button.tabIndex = -1; // a list of films is long; the key does it as well
  return button;
}
