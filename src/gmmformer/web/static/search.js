// The search view: filters, results as they are typed, and what is shown where there are none.

import { Problem, Unreachable, arrived, isAborted, isPassing, search } from "./api.js";
import { WAYS, globOf, readAddress, writeAddress } from "./address.js";
import { Card, MOMENTS } from "./card.js";
import { Again } from "./connection.js";
import { element } from "./dom.js";
import { Filters } from "./filters.js";
import { learnFolders } from "./folders.js";
import { grouped, isWeak, plural } from "./format.js";
import { announce, working } from "./messages.js";
import { momentKey } from "./moment.js";
import { Notice } from "./notice.js";
import { Playing } from "./playing.js";
import { Start, skeleton } from "./start.js";
import { scaleOf } from "./strip.js";
import { styled } from "./viewers.js";

/** @import { Tray } from "./tray.js" */
/** @import { Viewers } from "./viewers.js" */

/** Milliseconds without a key until what is typed is searched for. */
const TYPING = 300;
/** Milliseconds after which a sentence counts as one to come back to. */
const SETTLED = 1500;
/** Milliseconds until an answer that has not come is worth a word. */
const SLOW = 150;
/** Films that are asked for at a time, and how many a server finds. */
const [PAGE, MOST] = [12, 9900];
/** Pages that an address brings back at most: all are asked for at once. */
const MOST_BACK = 25;

/** Nothing beside words. */
const NOTHING = { like: "", then: [], also: [], without: [] };

/** What the page is for. */
export class SearchView {
  #request = null;
  #timers = { typing: 0, settled: 0, slow: 0 };
  #settled = true; // whether the next change of the query is a new entry of the history
  #unwritten = false; // whether something was typed that the address does not say yet
  #cards = new Map();
  #hits = []; // of all pages, best film first
  #pages = 1;
  #word = null;
  #again = new Again(() => this.run());
  #asking = null; // what is asked for beside words; fetched when there is any

  /** @param {HTMLElement} root  @param {HTMLInputElement} box  @param {{tray: Tray, viewer: Viewers, openFilm: function(string): void}} page */
  constructor(root, box, { tray, viewer, openFilm }) {
    this.root = root;
    this.box = box;
    this.tray = tray;
    this.playing = new Playing(this, openFilm);
    this.surroundings = { tray, viewer, onOpen: (card) => this.#opened(card), onClose: (card) => this.playing.closed(card) };
    this.ofCards = { ...this.surroundings, onAlike: (card) => this.#like(card) };
    this.state = readAddress();
    /** What brings this view back when something is typed while another one is shown. */
    this.onReturn = () => {};
    this.filters = new Filters((change) => this.change(change));
    this.compose = element("button", { type: "button", class: "quiet" }, "Then, also, without");
    this.compose.title = "Films that show this and then, also, or without something else";
    this.compose.addEventListener("click", () => working(this.compose, async () => (await this.#beside()).add()));
    this.status = element("p", { class: "status" });
    this.notice = new Notice(() => this.#cards.size > 0);
    this.list = element("ol", { class: "cards", "aria-label": "Results" });
    this.more = element(
      "button",
      { type: "button", class: "more", hidden: true, on: { click: () => this.#showMore() } },
      "More results",
    );
    this.start = new Start(this.surroundings, () => this.playing.resume());
    this.filters.element.append(this.compose, this.status);
    root.append(this.filters.element, this.notice.element, this.list, this.more, this.start.element);
    this.tray.addEventListener("change", () => this.#cards.forEach((card) => card.showPicked()));
    this.#listenToBox();
  }

  /** The cards on the screen, in order. */
  get cards() {
    return this.start.shown ? this.start.cards : [...this.#cards.values()];
  }

  /** Shows what the address says; a picture is none of it. */
  show(state) {
    this.#asking?.forget();
    const typed = document.activeElement === this.box && this.box.value.trim() === state.query;
    this.state = state;
    this.#unwritten = false;
    if (!typed) this.box.value = state.query;
    this.#settled = true;
    this.#pages = Math.min(Math.max(1, Math.ceil(state.results / PAGE)), MOST_BACK);
    this.playing.expect(state.play);
    this.filters.show(this.state);
    this.run();
  }

  leave() {
    this.#request?.abort();
    this.#again.stop();
    this.playing.leave();
  }

  /** Closes the film that plays; whether there was one. */
  closePlayer() {
    return this.playing.close();
  }

  /** Searches by the first of some files that is a picture; `button` shows that it works. */
  take(files, button) {
    return working(button, async () => (await this.#beside()).take(files));
  }

  /** Takes what the library holds now. */
  takeLibrary({ folders, films: count, sources }) {
    this.filters.takeSources(sources);
    if (learnFolders(folders)) {
      this.filters.show(this.state);
      this.cards.forEach((card) => card.showFolder());
    }
    const grown = this.count !== undefined && this.count !== count;
    this.count = count;
    if (grown && !this.root.hidden && !this.cards.some((card) => card.screen.open)) this.run();
  }

  /** Searches for what the state says. */
  async run() {
    clearTimeout(this.#timers.typing);
    this.#again.stop();
    this.#request?.abort();
    if (this.#unwritten) writeAddress(this.state, false);
    this.#unwritten = false;
    const { query } = this.state;
    document.title = query ? `${query} – gmmformer` : "gmmformer";
    this.#asking?.show(this.state);
    this.root.classList.toggle("beside", this.#more);
    if (!query && !this.#alike) return this.#showStart();
    const request = new AbortController();
    this.#request = request;
    this.#timers.slow = setTimeout(() => this.#request === request && this.#showWaiting(), SLOW);
    try {
      const pages = Array.from({ length: this.#pages }, (_, page) => this.#page(page, request.signal));
      const answers = await Promise.all(pages);
      if (this.#request !== request) return;
      this.#again.done();
      this.#hits = answers.flatMap((answer) => answer.hits);
      this.#showAnswer(answers.at(-1), answers[0].word);
    } catch (error) {
      if (!isAborted(error) && this.#request === request) this.#showError(error);
    } finally {
      if (this.#request === request) {
        clearTimeout(this.#timers.slow);
        this.root.classList.remove("waiting");
        this.root.removeAttribute("aria-busy");
      }
    }
  }

  /** Makes the state one to come back to. */
  settle() {
    clearTimeout(this.#timers.settled);
    this.#settled = true;
  }

  #listenToBox() {
    this.box.addEventListener("input", (/** @type {InputEvent} */ event) => event.isComposing || this.#typed());
    this.box.addEventListener("compositionend", () => this.#typed());
    this.box.addEventListener("blur", () => this.settle());
  }

  #typed() {
    const query = this.box.value.trim();
    if (this.root.hidden) this.#return();
    if (query === this.state.query) {
      if (this.#unwritten) this.#wait(); // a space: a word is to follow
      return;
    }
    this.state = { ...this.state, view: "search", query, results: 0, play: "" };
    if (this.#settled) writeAddress(this.state, true);
    this.#unwritten = true;
    this.#settled = false;
    this.#pages = 1;
    clearTimeout(this.#timers.settled);
    this.#timers.settled = setTimeout(() => this.settle(), SETTLED);
    this.#request?.abort();
    this.#again.stop();
    this.#wait();
  }

  #wait() {
    clearTimeout(this.#timers.typing);
    this.#timers.typing = setTimeout(() => this.run(), TYPING);
  }

  // Typing while the library is shown searches.
  #return() {
    this.onReturn();
    this.state = { ...readAddress("?"), view: "search" };
    this.#settled = true;
    this.filters.show(this.state);
  }

  /** Searches for what is different now; `push`: "back" leads to what it was. */
  change(change, push = true) {
    this.state = { ...this.state, ...change, results: 0, play: "" };
    writeAddress(this.state, push);
    this.#unwritten = false;
    this.settle();
    this.#pages = 1;
    this.filters.show(this.state);
    this.run();
  }

  /** Whether films are to look like something. */
  get #alike() {
    return Boolean(this.state.like || this.#asking?.picture);
  }

  get #more() {
    return this.#alike || WAYS.some((way) => this.state[way].length);
  }

  async #beside() {
    const [{ Asking }] = await Promise.all([arrived(import("./asking.js")), arrived(styled())]);
    if (!this.#asking) {
      this.#asking = new Asking(this);
      this.filters.element.after(this.#asking.element);
      this.#asking.show(this.state);
    }
    return this.#asking;
  }

  // Others like what is on a card now.
  #like({ film, moment, screen }) {
    const second = screen.open ? screen.time : moment.poster;
    this.#asking?.forget();
    this.box.value = "";
    this.change({ query: "", ...NOTHING, like: `${film.id}@${Number(second.toFixed(2))}` });
    scrollTo(0, 0);
  }

  async #page(page, signal) {
    const { query, folder, minLength, within } = this.state;
    const asked = { query, k: PAGE, skip: page * PAGE, moments: MOMENTS, where: globOf(folder), minLength, within };
    return this.#more ? (await this.#beside()).found(asked, signal) : search(asked, signal);
  }

  #showMore() {
    const [before, request] = [this.#cards.size, this.#request];
    working(this.more, async () => {
      if (this.#request !== request) return;
      const answer = await this.#page(this.#pages, request.signal);
      if (this.#request !== request) return;
      this.#pages += 1;
      this.state = { ...this.state, results: this.#pages * PAGE };
      writeAddress(this.state, false);
      this.#hits.push(...answer.hits);
      this.#showAnswer(answer, this.#word);
      this.cards[before]?.focus();
    });
  }

  #showAnswer(last, word) {
    this.#word = word;
    const films = new Map();
    for (const hit of this.#hits) films.set(hit.id, [...(films.get(hit.id) ?? []), hit]);
    const scale = scaleOf(this.#hits.map((hit) => hit.strip).filter(Boolean));
    const kept = new Map();
    for (const hits of films.values()) {
      const key = momentKey(hits[0]);
      const card = this.#cards.get(key) ?? new Card(hits[0], this.ofCards, this.state.query);
      card.update(hits, scale, this.state.query);
      kept.set(key, card);
    }
    for (const [key, card] of this.#cards) if (!kept.has(key)) card.drop();
    this.#cards = kept;
    this.#leaveStart();
    this.playing.order(this.list, [...kept.values()].map((card) => card.element));
    this.more.hidden = new Set(last.hits.map((hit) => hit.id)).size < PAGE || this.#pages * PAGE >= MOST;
    this.#describe(last, word);
    this.playing.resume();
  }

  #describe({ films: count, seconds, unknown = [] }, word) {
    const shown = this.#cards.size;
    const time = seconds < 1 ? `${Math.max(1, Math.round(seconds * 1000))} ms` : `${seconds.toFixed(1)} s`;
    const fitting = this.state.folder || this.state.minLength ? " that fit" : "";
    const found = this.more.hidden
      ? `All ${plural(shown, "film")}${fitting}, best first`
      : `The ${plural(shown, "best film")} of ${grouped(count)}`;
    const strange = unknown.length ? ` · not known: ${unknown.join(", ")}` : "";
    this.status.textContent = shown ? `${found} · ${time}${strange}` : `No film${strange}`;
    const { folder, minLength, within } = this.state;
    if (!shown) this.notice.showNone(count, folder || minLength || (within && !this.#more) ? () => this.filters.remove() : null);
    else if (isWeak(word)) this.notice.show("Nothing in this library stands out for this sentence.", "These come closest.");
    else this.notice.show();
    announce(shown ? `${found}.${isWeak(word) ? " Nothing stands out." : ""}` : "No results.");
  }

  #showWaiting() {
    this.root.classList.add("waiting");
    this.root.setAttribute("aria-busy", "true");
    if (this.#cards.size) return;
    this.#leaveStart();
    this.notice.show();
    this.status.textContent = "Searching…";
    this.playing.order(this.list, Array.from({ length: 8 }, skeleton));
  }

  #showError(error) {
    if (error instanceof Problem && error.status === 401) return;
    if (isPassing(error)) this.#again.wait(error);
    const silent = error instanceof Unreachable;
    this.status.textContent = silent ? "No answer; asking again." : isPassing(error) ? "The server is busy; asking again." : "";
    if (isPassing(error) && (this.#cards.size || !silent)) return; // what is shown stays
    this.#leaveStart();
    this.#cards.forEach((card) => card.close());
    this.#cards.clear();
    this.#hits = [];
    this.playing.order(this.list, []);
    this.more.hidden = true;
    const [title, text] = silent
      ? ["No answer from the server.", "The search goes on by itself as soon as there is one."]
      : ["This search failed.", error.message];
    this.notice.show(title, text, element("button", { type: "button", on: { click: () => this.run() } }, "Try again"));
    this.notice.element.setAttribute("role", "alert");
  }

  #opened(opened) {
    this.settle();
    this.playing.opened(opened);
  }

  #leaveStart() {
    this.start.hide();
    this.list.hidden = false;
  }

  #showStart() {
    this.#cards.forEach((card) => card.close());
    this.#cards.clear();
    this.#hits = [];
    this.#request = null;
    this.notice.show();
    this.status.textContent = "";
    this.list.hidden = this.more.hidden = true;
    this.root.classList.remove("waiting");
    this.start.show();
  }
}
