// The moments of one film, to choose from: each goes into the tray by itself.

import { element, icon } from "./dom.js";
import { match, span, spoken } from "./format.js";

/** @import { Tray } from "./tray.js" */
/** @import { Moment } from "./moment.js" */

/** A list of moments, one of which is chosen. */
export class MomentList {
  #rows = new Map();

  /** @param {Tray} tray  @param {function(Moment): void} onChoose told which one was */
  constructor(tray, onChoose) {
    this.tray = tray;
    this.onChoose = onChoose;
    this.element = element("ol", { class: "moments" });
  }

  /**
   * Shows moments.
   * @param {Moment[]} moments best first
   * @param {Moment} chosen one of them, or another
   */
  show(moments, chosen) {
    this.#rows = new Map(moments.map((moment) => [moment, this.#row(moment)]));
    this.element.replaceChildren(...[...this.#rows.values()].map((row) => row.element));
    this.choose(chosen);
    this.showPicked();
  }

  /** Marks the one that is chosen. */
  choose(chosen) {
    for (const [moment, row] of this.#rows) row.choose.setAttribute("aria-pressed", String(moment === chosen));
  }

  /** Marks those that the tray has. */
  showPicked() {
    for (const [moment, row] of this.#rows) {
      const picked = this.tray.has(moment.key);
      row.keep.setAttribute("aria-pressed", String(picked));
      row.keep.title = picked ? "Take out of the tray" : "Put into the tray";
      row.keep.replaceChildren(icon(picked ? "check" : "add"));
    }
  }

  /** Shows where the moments are now. */
  showTimes() {
    for (const [moment, row] of this.#rows) row.times.textContent = span(moment.start, moment.end);
  }

  #row(moment) {
    const { start, end } = moment;
    const times = element("span", { class: "times" }, span(start, end));
    const choose = element("button", { type: "button", on: { click: () => this.onChoose(moment) } }, times);
    choose.append(...bars(moment.word));
    choose.setAttribute("aria-label", `Show ${span(start, end)}${match(moment.word) ? `, ${match(moment.word).text}` : ""}`);
    const keep = element("button", { type: "button", class: "icon", on: { click: () => this.tray.toggle(moment) } });
    keep.setAttribute("aria-label", `Keep ${spoken(start)} to ${spoken(end)} in the tray`);
    return { element: element("li", {}, choose, keep), choose, keep, times };
  }
}

/** How well something matches, as bars and in words; nothing where that is not known. */
export function bars(word) {
  const found = match(word);
  if (!found) return [];
  const drawn = [1, 2, 3].map((bar) => element("i", { class: bar <= found.level ? "on" : "", "aria-hidden": "true" }));
  return [element("span", { class: "word", data: { level: found.level } }, ...drawn, found.text)];
}
