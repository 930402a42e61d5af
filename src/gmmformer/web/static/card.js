// One result: the moment's frame, the strip of its film, name, times, how well it matches, and what can be done with it.

import { cut } from "./api.js";
import { element, icon } from "./dom.js";
import { shortFolder } from "./folders.js";
import { match, span, spoken } from "./format.js";
import { save, tell, working } from "./messages.js";
import { Screen } from "./screen.js";
import { Strip, peakOf } from "./strip.js";

/** What tells a moment from all others. */
export function momentKey({ id, start, end }) {
  return `${id}:${start}:${end}`;
}

/** A card in the list of results; it stays when the next answer has the same moment. */
export class Card {
  /**
   * @param {Object} hit
   * @param {{tray: Tray, onOpen: function(Card)}} surroundings
   */
  constructor(hit, { tray, onOpen }) {
    Object.assign(this, { hit, tray });
    this.key = momentKey(hit);
    const moment = { start: hit.start, end: hit.end, poster: peakOf(hit.strip, hit.start, hit.end) };
    this.screen = new Screen(hit, moment, {
      onTime: (second) => this.strip.showPlaying(second),
      onOpen: () => onOpen(this),
      onClose: () => this.strip.showPlaying(null),
    });
    this.strip = new Strip(hit, moment, (second) => this.screen.playFrom(second));
    this.word = element("span", { class: "word" });
    this.pick = element("button", { type: "button", class: "small", on: { click: () => this.togglePicked() } });
    this.cut = element(
      "button",
      { type: "button", class: "small", disabled: !hit.available, on: { click: () => this.#cut() } },
      icon("download"),
      "mp4",
    );
    this.cut.setAttribute("aria-label", `Save this moment of ${hit.name} as mp4`);
    this.cut.title = "Save this moment as mp4";
    this.element = element("li", { class: "card" }, this.screen.element, this.strip.element, ...this.#texts());
    this.showPicked();
    this.showFolder();
  }

  /** Shows the folder as the library's other folders make it short. */
  showFolder() {
    this.folder.textContent = shortFolder(this.hit.folder);
  }

  /** Shows what an answer says about the moment. */
  update(hit, scale, query) {
    this.hit = hit;
    this.query = query;
    if (hit.strip) this.strip.draw(hit.strip, scale);
    const found = match(hit.word);
    this.word.hidden = !found;
    if (found) {
      this.word.dataset.level = found.level;
      this.word.replaceChildren(
        ...[1, 2, 3].map((bar) => element("i", { class: bar <= found.level ? "on" : "", "aria-hidden": "true" })),
        found.text,
      );
    }
  }

  /** Whether the tray has it. */
  showPicked() {
    const picked = this.tray.has(this.key);
    this.pick.setAttribute("aria-pressed", String(picked));
    this.pick.setAttribute("aria-label", `Keep this moment of ${this.hit.name} in the tray`);
    this.pick.title = picked ? "Take out of the tray" : "Put into the tray";
    this.pick.replaceChildren(icon(picked ? "check" : "add"), picked ? "In tray" : "Tray");
  }

  togglePicked() {
    if (this.tray.has(this.key)) this.tray.remove(this.key);
    else this.tray.add({ ...this.hit, query: this.query, poster: this.screen.moment.poster });
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

  #texts() {
    const { hit } = this;
    const times = element(
      "p",
      { class: "times" },
      element("span", { class: "hidden" }, `From ${spoken(hit.start)} to ${spoken(hit.end)}`),
      element("span", { "aria-hidden": "true" }, span(hit.start, hit.end)),
    );
    const name = element("h2", { title: hit.film }, hit.name);
    if (hit.named) name.append(element("small", { title: "The words stand in its path" }, " by name"));
    if (hit.copies?.length) {
      const word = hit.copies.length === 1 ? "copy" : "copies";
      name.append(element("small", { title: hit.copies.join("\n") }, ` +${hit.copies.length} ${word}`));
    }
    this.folder = element("p", { class: "folder", title: hit.folder });
    return [
      element("div", { class: "line" }, times, this.word),
      name,
      element("div", { class: "line actions" }, this.folder, this.pick, this.cut),
    ];
  }

  #cut() {
    const { id, start, end, name } = this.hit;
    working(this.cut, async () => {
      save(await cut({ id, start, end }));
      tell(`Saved ${span(start, end)} of ${name}.`);
    });
  }
}
