// One result: a film, with the frame of a moment, the strip of all of it, name, times, how well it matches, and its other
// moments.

import { alikeButton, cutButton, keepButton, trimButton } from "./actions.js";
import { playerKey } from "./controls.js";
import { element } from "./dom.js";
import { shortFolder } from "./folders.js";
import { clock, plural, span, spoken } from "./format.js";
import { MomentList, bars } from "./moment_list.js";
import { quoteOf } from "./quote.js";
import { Roving } from "./roving.js";
import { Screen } from "./screen.js";
import { Strip, peakOf } from "./strip.js";

/** @import { Tray } from "./tray.js" */
/** @import { Viewers } from "./viewers.js" */

/** Moments of each film that are asked for with an answer. */
export const MOMENTS = 10;

const TOOLBAR = { role: "toolbar", "aria-label": "What can be done with the moment" };

/** A card in the list of results; it stays when the next answer has the same moment first. */
export class Card {
  #why = new Map(); // of moments: what they were found for

  /**
   * @param {Object} hit the film's best moment
   * @param {{tray: Tray, viewer: Viewers, onOpen: function(Card): void, onClose: function(Card): void, onAlike: function(Card): void}} surroundings
   * @param {string} query
   */
  constructor(hit, { tray, viewer, onOpen, onClose, onAlike }, query) {
    this.hit = hit;
    this.tray = tray;
    this.viewer = viewer;
    this.moment = this.#momentOf(hit, query);
    this.moments = [this.moment];
    this.screen = new Screen(hit, this.moment, {
      onTime: (second) => this.strip.showPlaying(second),
      onOpen: () => onOpen(this),
      onClose: () => {
        this.strip.showPlaying(null);
        onClose(this);
      },
    });
    this.strip = new Strip(hit, this.moment, (second) => this.screen.playFrom(second));
    this.strip.letTrim((second) => this.screen.show(second));
    this.times = element("p", { class: "times" });
    this.word = element("span", { class: "match" });
    this.quote = element("div", { class: "quotes" });
    this.alike = alikeButton(hit, () => onAlike(this));
    this.trim = trimButton(hit.name, () => this.openViewer(), !hit.available);
    this.keep = keepButton(hit.name, () => this.togglePicked());
    this.list = new MomentList(tray, (moment) => this.#use(moment, true));
    this.list.element.hidden = true;
    this.more = element("button", {
      type: "button",
      class: "quiet others",
      hidden: true,
      "aria-expanded": "false",
      on: { click: () => this.#unfold(this.list.element.hidden) },
    });
    const key = (event) => playerKey(event, this.screen) && event.preventDefault();
    this.element = element(
      "li",
      { class: "card", on: { keydown: key } },
      this.screen.element,
      this.strip.element,
      ...this.#texts(),
      this.more,
      this.list.element,
    );
    new Roving(this.element, ".controls :is(button, select, input), .quotes button, .actions button, .others, .moments button", ".actions button");
    this.#showMoment();
    this.showFolder();
  }

  /** Shows the folder as the library's other folders make it short. */
  showFolder() {
    this.folder.textContent = shortFolder(this.hit.folder);
  }

  /**
   * Shows what an answer says about the film.
   * @param {Object[]} hits its moments, best first
   * @param {{low: number, high: number}} scale
   * @param {string} query
   */
  update(hits, scale, query) {
    [this.hit] = hits;
    if (this.hit.strip) this.strip.draw(this.hit.strip, scale);
    const before = new Set(this.moments);
    this.moments = hits.map((one) => this.#momentOf(one, query, before));
    this.#why = new Map(this.moments.map((moment, place) => [moment, hits[place].why]));
    if (!this.moments.includes(this.moment)) this.moments.push(this.moment);
    const others = this.moments.length - 1;
    this.more.hidden = !others;
    this.more.textContent = `${plural(others, "more moment")}${hits.length === MOMENTS ? ", or more" : ""}`;
    this.list.show(others ? this.moments : [], this.moment);
    this.#showWord();
  }

  /** The film. */
  get film() {
    return this.hit;
  }

  /** Whether the tray has it. */
  showPicked() {
    this.keep.show(this.tray.has(this.moment.key));
    this.list.showPicked();
  }

  togglePicked() {
    this.tray.toggle(this.moment);
  }

  /** Opens it large, to be trimmed. */
  async openViewer() {
    if (!this.hit.available) return;
    await this.viewer.fetch();
    this.close();
    this.viewer.open(this.hit, this.moment, {
      moments: this.moments,
      onClose: (last) => {
        if (this.moments.includes(last)) this.#use(last, false);
        this.trim.focus();
      },
    });
  }

  /** Shows a moment of the film, ready to be played. */
  resume({ start, end }) {
    const near = (moment) => Math.abs(moment.start - start) + Math.abs(moment.end - end) < 0.01;
    const { query } = this.moment;
    this.#use(this.moments.find(near) ?? this.#momentOf({ start, end, word: null }, query), false);
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

  #momentOf({ start, end, word }, query, known = new Set()) {
    const poster = peakOf(this.hit.strip, start, end);
    const moment = this.tray.moment(this.hit, { start, end, poster, word, query });
    if (!known.has(moment)) moment.addEventListener("change", () => this.#showMoment());
    return moment;
  }

  #use(moment, play) {
    if (moment !== this.moment) {
      this.moment = moment;
      this.screen.use(moment);
      this.strip.use(moment);
      this.list.choose(moment);
      this.#showMoment();
      this.#showWord();
    }
    if (play) this.screen.playFrom(moment.start);
  }

  #unfold(open) {
    this.list.element.hidden = !open;
    this.more.setAttribute("aria-expanded", String(open));
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
    const cut = cutButton(hit, () => this.moment);
    return [
      element("div", { class: "line" }, this.times, this.word),
      name,
      this.quote,
      element("div", { class: "line actions", ...TOOLBAR }, this.folder, this.trim, this.keep, cut, this.alike),
    ];
  }

  #showWord() {
    const quote = quoteOf(this.#why.get(this.moment));
    this.word.replaceChildren(...bars(this.moment.word));
    this.quote.replaceChildren(...(this.hit.parts ?? []).map((part) => this.#part(part)), ...(quote ? [quote] : []));
  }

  // Where one of several sentences is true.
  #part({ start, sentence }) {
    const on = { click: () => this.screen.playFrom(start) };
    return element("button", { type: "button", class: "part", title: sentence, on }, element("b", {}, clock(start)), sentence);
  }

  #showMoment() {
    if (!this.times) return;
    const { start, end, changed, found } = this.moment;
    this.times.replaceChildren(
      element("span", { class: "hidden" }, `From ${spoken(start)} to ${spoken(end)}`),
      element("span", { "aria-hidden": "true" }, span(start, end)),
      ...(changed ? [element("small", { title: `Found: ${span(found.start, found.end)}` }, " trimmed")] : []),
    );
    this.list.showTimes();
    this.showPicked();
  }
}
