// The viewer: a film, large, with the strip of all of it, a part enlarged, what a moment is trimmed with, and its moments.

import { inside, isAborted, isPassing } from "./api.js";
import { spotFor, writeFilm } from "./address.js";
import { Again } from "./connection.js";
import { playerKey } from "./controls.js";
import { cutButton, keepButton } from "./actions.js";
import { element, icon, iconButton } from "./dom.js";
import { shortFolder } from "./folders.js";
import { plural } from "./format.js";
import { Lens } from "./lens.js";
import { announce, speakFrom } from "./messages.js";
import { MomentList } from "./moment_list.js";
import { Screen } from "./screen.js";
import { Strip, scaleOf } from "./strip.js";
import { Transcript } from "./transcript.js";
import { Trim } from "./trim.js";

/** @import { Tray } from "./tray.js" */
/** @import { Moment } from "./moment.js" */

/** Moments of the film that are listed. */
const MOST = 50;
/** Seconds of a moment that is begun by hand. */
const BY_HAND = 10;
/** Milliseconds without a key until what is typed is searched for. */
const TYPING = 150;
/** Milliseconds without a change until the address says how a moment is trimmed. */
const STILL = 500;
const OWN_KEYS = "input, select, button, [role=slider]";

/** Shows one film at a time, above the page. */
export class Viewer {
  #request = null;
  #shown = false;
  #timers = { typing: 0, still: 0 };
  #again = new Again(() => this.#find());
  #onPicked = () => this.#showPicked();
  #onMoved = () => {
    this.list.showTimes();
    clearTimeout(this.#timers.still);
    this.#timers.still = setTimeout(() => this.#write(), STILL);
  };

  /** @param {Tray} tray */
  constructor(tray) {
    this.tray = tray;
    this.dialog = element("dialog", {
      class: "viewer",
      "aria-labelledby": "viewer-title",
      on: {
        close: () => this.dialog.open || this.#closed(), // it comes late: another film may be open by then
        pointerdown: (event) => event.target === this.dialog && this.dialog.close(),
        keydown: (event) => this.#key(event),
      },
    });
    document.body.append(this.dialog);
  }

  /**
   * Opens on a moment, which changes as it is trimmed.
   * @param {Object} film as the server describes it
   * @param {Moment} moment
   * @param {{moments?: Moment[], onClose?: function(Moment): void, second?: number}} more others of the film that are shown
   *     elsewhere, what to do afterwards with the one that was shown last, and the second to show at first
   */
  open(film, moment, { moments = [moment], onClose = () => {}, second = moment.start } = {}) {
    this.film = film;
    this.moment = moment;
    this.onClose = onClose;
    this.strip = new Strip(film, moment, (second) => this.screen.playFrom(second));
    this.screen = new Screen(film, moment, {
      onTime: (second) => {
        this.strip.showPlaying(second);
        this.lens.showPlaying(second);
        this.transcript.showPlaying(second);
      },
    });
    this.transcript = new Transcript(film, (second) => this.screen.playFrom(second));
    this.lens = new Lens(film, moment, {
      onShow: (second) => this.screen.show(second),
      onSeek: (second) => this.screen.playFrom(second),
    });
    this.lens.addEventListener("view", () => this.strip.showWindow(this.lens.view));
    this.strip.showWindow(this.lens.view);
    this.trim = new Trim(this.screen, this.lens);
    this.keep = keepButton(film.name, () => this.tray.toggle(this.moment));
    this.list = new MomentList(this.tray, (chosen) => this.#use(chosen, true));
    this.dialog.replaceChildren(this.#header(), element("div", { class: "bench" }, this.#table(), this.#side()));
    speakFrom(this.dialog);
    this.tray.addEventListener("change", this.#onPicked);
    this.#use(moment, false);
    this.list.show(moments, moment);
    this.#write();
    this.#shown = true;
    this.dialog.showModal();
    this.screen.toggle.focus();
    this.screen.show(second);
    this.#find();
    this.transcript.show();
  }

  /** Whether it is open with a film. */
  shows({ id }) {
    return this.dialog.open && this.film.id === id;
  }

  /** Closes it since the address names no film any more. */
  leave() {
    if (!this.dialog.open) return;
    this.dialog.close();
    this.#closed(true);
  }

  #header() {
    return element(
      "header",
      {},
      element("h2", { id: "viewer-title", title: this.film.film }, this.film.name),
      element("p", { class: "folder" }, shortFolder(this.film.folder)),
      iconButton("close", "Close", () => this.dialog.close()),
    );
  }

  #table() {
    const fresh = element(
      "button",
      { type: "button", class: "small", title: "Begin another moment at the frame on screen", on: { click: () => this.#begin() } },
      icon("add"),
      "New moment",
    );
    return element(
      "div",
      { class: "table" },
      this.screen.element,
      this.strip.element,
      this.lens.element,
      this.trim.element,
      element("div", { class: "line actions" }, this.keep, cutButton(this.film, () => this.moment), fresh, this.trim.span),
    );
  }

  #side() {
    return element("div", { class: "side" }, this.#finder(), this.transcript.element);
  }

  #finder() {
    this.box = element("input", {
      id: "inside",
      type: "search",
      maxlength: 10000,
      autocomplete: "off",
      spellcheck: "false",
      placeholder: "Describe a moment",
      value: this.moment.query,
      on: {
        input: () => {
          clearTimeout(this.#timers.typing);
          this.#timers.typing = setTimeout(() => this.#find(), TYPING);
        },
        keydown: (event) => event.key === "Enter" && this.#again.now(),
      },
    });
    this.found = element("p", { class: "note", role: "status" });
    return element(
      "section",
      { class: "finder", "aria-label": "Moments of this film" },
      element("label", { for: "inside" }, "Search inside this film"),
      this.box,
      this.found,
      this.list.element,
    );
  }

  async #find() {
    this.#request?.abort();
    this.#again.stop();
    const query = this.box.value.trim();
    if (!query) {
      this.found.textContent = "";
      return;
    }
    const request = (this.#request = new AbortController());
    try {
      const answer = await inside(this.film.id, query, MOST, request.signal);
      if (this.#request !== request || !this.dialog.open) return;
      this.#again.done();
      const scale = scaleOf([answer]);
      this.strip.draw(answer, scale);
      this.lens.draw(answer, scale);
      const moments = answer.moments.map((span) => this.tray.moment(this.film, { ...span, query }));
      this.list.show(moments, this.moment);
      this.found.textContent = `${plural(moments.length, "moment")}${moments.length === MOST ? ", the best" : ""}, best first`;
    } catch (error) {
      if (isAborted(error) || !this.dialog.open || this.#request !== request) return;
      this.found.textContent = error.message;
      if (isPassing(error)) this.#again.wait(error);
    }
  }

  #use(moment, play) {
    this.moment.removeEventListener("change", this.#onMoved);
    this.moment = moment;
    moment.addEventListener("change", this.#onMoved);
    for (const part of [this.screen, this.strip, this.lens, this.trim]) if (part.moment !== moment) part.use(moment);
    this.list.choose(moment);
    if (this.dialog.open) this.#write();
    this.#showPicked();
    if (play) this.screen.playFrom(moment.start);
  }

  #begin() {
    const { time } = this.screen;
    const span = { start: time, end: Math.min(time + BY_HAND, this.film.length) };
    this.#use(this.tray.moment(this.film, span), false);
    announce("A new moment begins here.");
  }

  #showPicked() {
    this.list.showPicked();
    this.keep.show(this.tray.has(this.moment.key));
  }

  #key(event) {
    if (playerKey(event, this.screen) || this.#ownKey(event)) event.preventDefault();
  }

  #ownKey(event) {
    const { moment, screen } = this;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return false;
    if (event.key.toLowerCase() === "t") this.tray.toggle(moment);
    else if (event.key.toLowerCase() === "n") this.#begin();
    else if (event.key === "Home" && !event.target.matches(OWN_KEYS)) screen.show(moment.start);
    else if (event.key === "End" && !event.target.matches(OWN_KEYS)) screen.show(moment.end);
    else if (event.key === " " && !event.target.matches(OWN_KEYS)) screen.press();
    else return false;
    return true;
  }

  #write() {
    writeFilm(spotFor(this.film, this.moment));
  }

  #closed(told = false) {
    if (!this.#shown) return;
    this.#shown = false;
    if (!told) writeFilm(null);
    Object.values(this.#timers).forEach(clearTimeout);
    this.#again.stop();
    this.#request?.abort();
    this.tray.removeEventListener("change", this.#onPicked);
    this.moment.removeEventListener("change", this.#onMoved);
    this.screen.drop();
    this.lens.drop();
    this.trim.drop();
    this.transcript.drop();
    speakFrom(document.body);
    this.dialog.replaceChildren();
    this.onClose(this.moment);
  }
}
