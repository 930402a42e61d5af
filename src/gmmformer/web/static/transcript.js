// What is said in a film, line by line, beside its player: it follows what plays, and leads to where something is said.

import { isPassing, lines } from "./api.js";
import { Again } from "./connection.js";
import { element } from "./dom.js";
import { clock, spoken } from "./format.js";

const KINDS = { speech: "heard", text: "on screen" };

/** The lines of one of a film's tracks. */
export class Transcript {
  #lines = []; // each with its button, by the second at which it begins
  #current = null;
  #asked = 0;
  #again = new Again(() => this.show(this.#track, this.#second));
  #track = 0;
  #second = 0;

  /** @param {Object} film  @param {function(number): void} onSeek told the second at which a line begins */
  constructor(film, onSeek) {
    this.film = film;
    this.onSeek = onSeek;
    this.tracks = element("select", { "aria-label": "Which lines", hidden: true, on: { change: () => this.show(Number(this.tracks.value)) } });
    this.list = element("ol", { class: "lines" });
    this.note = element("p", { class: "note", role: "status", hidden: true });
    this.more = element("button", { type: "button", class: "quiet", hidden: true }, "Later lines");
    this.element = element(
      "section",
      { class: "transcript", "aria-label": "What is said in this film", hidden: true },
      element("div", { class: "line" }, element("h3", {}, "What is said"), this.tracks),
      this.list,
      this.more,
      this.note,
    );
  }

  /** Shows the lines of a track, from a second on. */
  async show(track = 0, start = 0) {
    [this.#track, this.#second] = [track, start];
    const asked = (this.#asked += 1);
    this.#again.stop();
    try {
      const told = await lines(this.film.id, track, start);
      if (asked !== this.#asked) return;
      this.#again.done();
      this.note.hidden = true;
      this.element.hidden = !told.tracks.length;
      this.#showTracks(told.tracks, track);
      this.#fill(told, start);
    } catch (error) {
      if (asked !== this.#asked) return;
      this.element.hidden = false;
      this.note.hidden = false;
      this.note.textContent = error.message;
      if (isPassing(error)) this.#again.wait(error);
    }
  }

  /** Marks what is said at a second, and brings it into sight unless somebody is in the list. */
  showPlaying(second) {
    if (second === null || !this.#lines.length) return;
    let [low, high] = [0, this.#lines.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#lines[middle].start <= second + 0.01) low = middle + 1;
      else high = middle;
    }
    const line = this.#lines[low - 1];
    const now = line && second < line.end + 1 ? line : null;
    if (now === this.#current) return;
    this.#current?.button.removeAttribute("aria-current");
    this.#current = now;
    if (!now) return;
    now.button.setAttribute("aria-current", "true");
    if (!this.list.matches(":hover, :focus-within"))
      this.list.scrollTop = now.button.offsetTop - this.list.offsetTop - this.list.clientHeight / 3;
  }

  /** Asks for nothing any more. */
  drop() {
    this.#asked += 1;
    this.#again.stop();
  }

  #showTracks(tracks, chosen) {
    const names = tracks.map(({ name, language, kind }) => [KINDS[kind], language, name].filter(Boolean).join(" · "));
    this.tracks.replaceChildren(...names.map((name, value) => element("option", { value }, name)));
    this.tracks.value = String(chosen);
    this.tracks.hidden = tracks.length < 2;
  }

  #fill({ lines: told, tracks, track, more_from: more }, start) {
    const added = told.map((line) => ({ ...line, button: this.#line(line, tracks[track]) }));
    const rows = added.map(({ button }) => element("li", {}, button));
    this.#lines = start ? [...this.#lines, ...added] : added;
    if (start) this.list.append(...rows);
    else this.list.replaceChildren(...rows);
    this.#current = start ? this.#current : null;
    this.more.hidden = more === null;
    this.more.onclick = () => this.show(track, more);
  }

  #line({ start, text }, { language }) {
    return element(
      "button",
      { type: "button", lang: language || null, on: { click: () => this.onSeek(start) } },
      element("span", { class: "times", "aria-hidden": "true" }, clock(start)),
      element("span", { class: "hidden" }, `At ${spoken(start)}: `),
      element("span", {}, text),
    );
  }
}
