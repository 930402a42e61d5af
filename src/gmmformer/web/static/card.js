// One result: the moment's frame, the strip of its film, name, times, how well it matches, and what can be done with it.

import { cut } from "./api.js";
import { playerKey } from "./controls.js";
import { element, icon } from "./dom.js";
import { shortFolder } from "./folders.js";
import { match, span, spoken } from "./format.js";
import { save, tell, working } from "./messages.js";
import { Moment } from "./moment.js";
import { Screen } from "./screen.js";
import { Strip, peakOf } from "./strip.js";
import { trimButton } from "./viewer.js";

/** A card in the list of results; it stays when the next answer has the same moment. */
export class Card {
  /**
   * @param {Object} hit
   * @param {{tray: Tray, viewer: Viewer, onOpen: function(Card)}} surroundings
   */
  constructor(hit, { tray, viewer, onOpen }) {
    Object.assign(this, { hit, tray, viewer });
    const moment = new Moment(hit, { start: hit.start, end: hit.end, poster: peakOf(hit.strip, hit.start, hit.end) });
    this.moment = moment;
    this.key = moment.key;
    this.screen = new Screen(hit, moment, {
      onTime: (second) => this.strip.showPlaying(second),
      onOpen: () => onOpen(this),
      onClose: () => this.strip.showPlaying(null),
    });
    this.strip = new Strip(hit, moment, (second) => this.screen.playFrom(second));
    this.word = element("span", { class: "word" });
    this.times = element("p", { class: "times" });
    this.trim = trimButton(hit.name, () => this.openViewer(), !hit.available);
    this.pick = element("button", { type: "button", class: "small", on: { click: () => this.togglePicked() } });
    this.cut = this.#cutButton();
    this.element = element(
      "li",
      { class: "card", on: { keydown: (event) => playerKey(event, this.screen) && event.preventDefault() } },
      this.screen.element,
      this.strip.element,
      ...this.#texts(),
    );
    moment.addEventListener("change", () => {
      this.#showTimes();
      this.tray.change(this.key, this.#picked());
    });
    this.#showTimes();
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
    this.drawn = hit.strip && { strip: hit.strip, scale };
    if (this.drawn) this.strip.draw(hit.strip, scale);
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
  showPicked(button = this.pick) {
    const picked = this.tray.has(this.key);
    button.setAttribute("aria-pressed", String(picked));
    button.setAttribute("aria-label", `Keep this moment of ${this.hit.name} in the tray`);
    button.title = picked ? "Take out of the tray" : "Put into the tray";
    button.replaceChildren(icon(picked ? "check" : "add"), picked ? "In tray" : "Tray");
  }

  togglePicked() {
    if (this.tray.has(this.key)) this.tray.remove(this.key);
    else this.tray.add(this.key, this.#picked());
  }

  /** Opens it large, to be trimmed. */
  openViewer() {
    if (!this.hit.available) return;
    this.close();
    const keep = element("button", { type: "button", class: "small" });
    const show = () => this.showPicked(keep);
    keep.addEventListener("click", () => this.togglePicked());
    this.tray.addEventListener("change", show);
    show();
    this.viewer.open(this.hit, this.moment, {
      drawn: this.drawn,
      actions: [keep, this.#cutButton()],
      onClose: () => {
        this.tray.removeEventListener("change", show);
        this.trim.focus();
      },
    });
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
    const name = element("h2", { title: hit.film }, hit.name);
    if (hit.named) name.append(element("small", { title: "The words stand in its path" }, " by name"));
    if (hit.copies?.length) {
      const word = hit.copies.length === 1 ? "copy" : "copies";
      name.append(element("small", { title: hit.copies.join("\n") }, ` +${hit.copies.length} ${word}`));
    }
    this.folder = element("p", { class: "folder", title: hit.folder });
    return [
      element("div", { class: "line" }, this.times, this.word),
      name,
      element("div", { class: "line actions" }, this.folder, this.trim, this.pick, this.cut),
    ];
  }

  #showTimes() {
    const { start, end, changed } = this.moment;
    this.times.replaceChildren(
      element("span", { class: "hidden" }, `From ${spoken(start)} to ${spoken(end)}`),
      element("span", { "aria-hidden": "true" }, span(start, end)),
      ...(changed ? [element("small", { title: `Found: ${span(this.hit.start, this.hit.end)}` }, " trimmed")] : []),
    );
  }

  #picked() {
    const { start, end, poster, found } = this.moment;
    const { id, film, name } = this.hit;
    return { id, film, name, start, end, poster, found, query: this.query };
  }

  #cutButton() {
    const { hit, moment } = this;
    const button = element(
      "button",
      { type: "button", class: "small", disabled: !hit.available, title: "Save this moment as mp4" },
      icon("download"),
      "mp4",
    );
    button.setAttribute("aria-label", `Save this moment of ${hit.name} as mp4`);
    button.addEventListener("click", () =>
      working(button, async () => {
        const { start, end } = moment;
        save(await cut({ id: hit.id, start, end }));
        tell(`Saved ${span(start, end)} of ${hit.name}.`);
      }),
    );
    return button;
  }
}
