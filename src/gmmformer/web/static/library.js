// The library view: what it holds, what is being taken in, what failed and why, and its films.

import { Problem, films, isPassing } from "./api.js";
import { writeAddress } from "./address.js";
import { element } from "./dom.js";
import { FilmCard } from "./film_card.js";
import { FilmFilters } from "./film_filters.js";
import { FilmList } from "./film_list.js";
import { shortFolder } from "./folders.js";
import { bytes, duration, grouped, plural } from "./format.js";
import { Intake } from "./intake.js";
import { announce } from "./messages.js";
import { Playing } from "./playing.js";

/** @import { Tray } from "./tray.js" */
/** @import { Viewers } from "./viewers.js" */

const TYPING = 120;
/** Milliseconds without scrolling until the address says what is seen. */
const STILL = 300;
/** Milliseconds until it is asked again how large films are that were not looked at. */
const UNLOOKED = 1500;
/** More failures than this are folded away. */
const FAILURES = 5;

/** Films, hours, failures, indexing. */
export class LibraryView {
  #timers = { typing: 0, still: 0, unlooked: 0 };
  #total = null;

  /**
   * @param {HTMLElement} root
   * @param {{refresh: function(): Promise<void>, tray: Tray, viewer: Viewers, openFilm: function(string): void}} page `refresh` asks for what there is
   */
  constructor(root, { refresh, tray, viewer, openFilm }) {
    this.root = root;
    this.refresh = refresh;
    this.playing = new Playing(this, openFilm);
    const [onOpen, onClose] = [(card) => this.playing.opened(card), (card) => this.playing.closed(card)];
    this.surroundings = { tray, viewer, onOpen, onClose, remove: (film) => this.#remove(film) };
    this.intake = new Intake({ changed: () => this.#changed(), tray });
    this.facts = element("dl", { class: "facts" });
    this.activity = element("div", { class: "activity", hidden: true });
    this.failures = element("details", { class: "failures", hidden: true });
    this.filter = element("input", {
      id: "filter",
      type: "search",
      placeholder: "Part of a name",
      autocomplete: "off",
      spellcheck: "false",
      on: { input: () => this.#typed(), keydown: (event) => event.key === "Enter" && this.run() },
    });
    this.status = element("p", { class: "status" });
    this.list = new FilmList({
      ask: (offset, limit, signal) => films({ ...this.state, offset, limit }, signal),
      make: (film) => this.#card(film),
      onAnswer: (answer) => this.#showTotal(answer),
      onShow: () => this.playing.resume(),
      onError: (error) => this.#showError(error),
    });
    this.list.addEventListener("moved", () => this.#moved());
    this.filters = new FilmFilters((change) => this.#choose(change));
    const find = element(
      "div",
      { class: "filters" },
      element("div", { class: "choice" }, element("label", { for: "filter" }, "Find films"), this.filter),
      ...this.filters.elements,
      this.status,
    );
    this.root.append(this.facts, this.activity, this.intake.element, this.failures, find, this.list.element);
    this.#showFacts(null);
  }

  get cards() {
    return this.list.cards;
  }

  /** Shows what the address says. */
  show(state) {
    this.state = state;
    this.playing.expect(state.play);
    document.title = "Library – gmmformer";
    if (document.activeElement !== this.filter) this.filter.value = state.filter;
    this.filters.show(state);
    this.refresh();
    this.run();
  }

  leave() {
    Object.values(this.#timers).forEach(clearTimeout);
    this.list.stop();
    this.playing.leave();
  }

  closePlayer() {
    return this.playing.close();
  }

  /** Takes what the library holds now. */
  takeLibrary(held) {
    const grown = this.held !== undefined && this.held.films !== held.films;
    this.held = held;
    this.intake.takeLibrary(held);
    this.cards.forEach((card) => {
      card.showFolder();
      card.removable = held.changeable;
    });
    if (this.state) this.filters.show(this.state);
    if (this.#total === 0 && !this.#narrowed) this.status.textContent = this.#noFilms();
    this.#showFacts(held);
    this.#showFailures(held.failures ?? []);
    if (grown && !this.root.hidden && !this.cards.some((card) => card.screen.open)) this.run();
  }

  /** Takes what is being done to the library; null: nothing. */
  takeActivity(activity) {
    this.activity.hidden = !activity;
    if (!activity) return;
    if (!this.activity.children.length) this.#makeActivity();
    const { what, done, total, failed, seconds_left: left } = activity;
    const title = what && what !== "indexing" ? what[0].toUpperCase() + what.slice(1) : "Adding films";
    this.activity.querySelector("h2").textContent = title;
    const bar = this.activity.querySelector("progress");
    bar.max = Math.max(total, 1);
    bar.value = done;
    const parts = [
      `${grouped(done)} of ${plural(total, "film")}`,
      failed ? `${grouped(failed)} failed` : "",
      left === null || left === undefined ? "" : `about ${duration(left)} left`,
    ];
    this.activity.querySelector("p").textContent = parts.filter(Boolean).join(" · ");
  }

  /** Fetches films, from the one on that the address says. */
  run() {
    return this.list.show(this.state.from);
  }

  /** Shows anew what was changed from here. */
  async #changed() {
    await this.refresh();
    if (!this.root.hidden) await this.run();
  }

  async #remove(film) {
    const place = this.cards.findIndex((card) => card.film.id === film.id);
    const focused = this.cards[place]?.element.contains(document.activeElement);
    await this.intake.remove(film);
    if (focused) (this.cards[place] ?? this.cards.at(-1))?.focus();
  }

  /** Whether only some of the films are asked for. */
  get #narrowed() {
    const { filter, folder, size } = this.state;
    return Boolean(filter || folder || size);
  }

  #choose(change) {
    this.state = { ...this.state, ...change, from: 0, play: "" };
    writeAddress(this.state, true);
    this.filters.show(this.state);
    this.run();
  }

  #noFilms() {
    return `No films yet. “${this.held?.changeable ? "Add films" : "gmmformer index"}” takes them in.`;
  }

  #typed() {
    clearTimeout(this.#timers.typing);
    this.#timers.typing = setTimeout(() => {
      this.state = { ...this.state, filter: this.filter.value.trim(), from: 0, play: "" };
      writeAddress(this.state, false);
      this.run();
    }, TYPING);
  }

  #moved() {
    clearTimeout(this.#timers.still);
    this.#timers.still = setTimeout(() => {
      this.state = { ...this.state, from: this.list.first };
      writeAddress(this.state, false);
    }, STILL);
  }

  #makeActivity() {
    const bar = element("progress", { "aria-label": "Adding films" });
    this.activity.append(element("h2", {}), bar, element("p", {}));
  }

  #showFacts(held) {
    const fact = (name, value, title = "") =>
      element("div", { title: title || null }, element("dt", {}, name), element("dd", {}, value));
    const failed = held?.failures?.length ?? 0;
    this.facts.replaceChildren(
      fact("Films", held ? grouped(held.films) : "–"),
      fact("Footage", held ? duration(held.seconds) : "–"),
      fact("Not readable", held ? grouped(failed) : "–"),
      fact("On disk", held ? bytes(held.bytes) : "–"),
      fact("Model", held ? shortened(held.model.replace(/^zero-shot:/, "")) : "–", held?.model),
    );
  }

  #showFailures(failures) {
    this.failures.hidden = !failures.length;
    const rows = failures.map(({ film, reason }) =>
      element(
        "li",
        {},
        element("span", { class: "name", title: film }, shortFolder(film)),
        element("span", { class: "why" }, reason),
      ),
    );
    const open = this.failures.children.length ? this.failures.open : failures.length <= FAILURES;
    this.failures.replaceChildren(
      element("summary", {}, `${plural(failures.length, "film")} could not be read`),
      element("ul", {}, ...rows),
    );
    this.failures.open = open;
  }

  #card(film) {
    const card = new FilmCard(film, this.surroundings);
    card.removable = this.held?.changeable;
    return card;
  }

  #showTotal({ total, unlooked }) {
    const { filter, folder, size } = this.state;
    const none = !this.#narrowed ? this.#noFilms() : filter && !folder && !size ? "No film has that in its name." : "No film fits.";
    const rest = unlooked ? ` · ${grouped(unlooked)} still to be looked at` : "";
    this.status.textContent = `${total ? plural(total, "film") : none}${rest}`;
    clearTimeout(this.#timers.unlooked);
    if (unlooked) this.#timers.unlooked = setTimeout(() => this.run(), UNLOOKED);
    if (this.#total !== total) announce(this.status.textContent);
    this.#total = total;
  }

  #showError(error) {
    if (error instanceof Problem && error.status === 401) return;
    const again = element("button", { type: "button", class: "quiet", on: { click: () => this.run() } }, "Try again");
    this.status.replaceChildren(isPassing(error) ? `${error.message} It is asked again.` : error.message, again);
  }
}

function shortened(name) {
  return name.replace(/\/+$/, "").split("/").slice(-2).join("/");
}
