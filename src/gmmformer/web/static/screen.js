// The picture of a card: a frame of the film, and in its place the film once it plays. Its shape never changes.

import { thumbnail } from "./api.js";
import { Controls } from "./controls.js";
import { element, icon } from "./dom.js";
import { span, spoken } from "./format.js";
import { frameImage } from "./images.js";
import { Playback } from "./playback.js";

/** @import { Moment } from "./moment.js" */

const LABELS = {
  loading: "Loading",
  playing: "Pause",
  paused: "Play",
  ended: "Go on playing",
  waiting: "Try again",
  failed: "Cannot play, try again",
};

function sentence(clause) {
  return `${clause[0].toUpperCase()}${clause.slice(1)}${clause.endsWith(".") ? "" : "."}`;
}

/** A frame that plays when it is clicked. */
export class Screen {
  #verb = "Play";
  #moved = () => this.film.available && this.#label();

  /**
   * @param {Object} film as the server describes it: id, name, length, playable, reason, available
   * @param {Moment} moment of it; its poster is the frame to show
   * @param {{onTime?: function(number): void, onOpen?: function(): void, onClose?: function(): void}} listeners
   */
  constructor(film, moment, { onTime = () => {}, onOpen = () => {}, onClose = () => {} } = {}) {
    this.film = film;
    this.moment = moment;
    this.onTime = onTime;
    this.onOpen = onOpen;
    this.onClose = onClose;
    this.playback = null;
    this.frame = null;
    this.toggle = element(
      "button",
      { type: "button", class: "toggle", on: { click: () => this.press() } },
      element("span", { class: "disc" }, icon("play")),
    );
    this.note = element("p", { class: "screen-note", hidden: true });
    this.badge = element("p", { class: "badge", hidden: true });
    this.element = element(
      "div",
      { class: "screen" },
      ...this.#pictures(),
      this.toggle,
      this.badge,
      this.note,
    );
    if (!film.available) this.#sayMissing();
    else this.#label("Play");
    if (film.available && !film.playable) this.#sayPreview(film.reason);
    moment.addEventListener("change", this.#moved);
  }

  /** Shows another moment of the film from now on. */
  use(moment) {
    this.moment.removeEventListener("change", this.#moved);
    this.moment = moment;
    moment.addEventListener("change", this.#moved);
    this.playback?.use(moment);
    if (this.open) this.controls.seek.use(moment);
    if (this.frame) this.frame.src = this.#address();
    this.#moved();
  }

  get open() {
    return this.playback !== null;
  }

  /** The second that is shown, while it is open. */
  get time() {
    return this.playback.time;
  }

  /** What a click does: opens, plays, stops, goes on. */
  press() {
    if (!this.film.available) return;
    if (this.playback) this.playback.toggle();
    else this.#openAt(null);
  }

  /** Plays from a second of the film on. */
  playFrom(second) {
    if (!this.film.available) return;
    if (this.playback) this.playback.seek(second);
    else this.#openAt(second);
  }

  /** Shows what is on screen at a second, and waits. */
  show(second) {
    if (!this.film.available) return;
    if (this.playback) this.playback.show(second);
    else this.#openAt(second, true);
  }

  close() {
    if (!this.playback) return;
    if (document.fullscreenElement === this.element) document.exitFullscreen();
    this.playback.close();
    this.playback = null;
    this.controls.element.remove();
    this.element.classList.remove("open");
    this.element.removeAttribute("data-state");
    this.#say("");
    this.#label("Play");
    this.onClose();
  }

  /** Closes it for good: frames that have not come yet are no longer wanted. */
  drop() {
    this.close();
    for (const image of this.element.querySelectorAll("img")) if (!image.complete) image.removeAttribute("src");
  }

  #sayPreview(reason) {
    this.badge.textContent = this.badge.title = reason ? `${reason}: plays as a preview` : "plays as a preview";
    this.badge.hidden = false;
  }

  #pictures() {
    if (!this.film.available) return [];
    const around = element("img", { class: "around", alt: "", decoding: "async" });
    const failed = () => this.element.classList.add("frameless");
    this.frame = frameImage({ class: "frame", loading: "lazy", src: this.#address() }, failed);
    this.frame.addEventListener("load", () => {
      around.src = this.frame.src;
      this.element.classList.remove("frameless");
      this.element.classList.add("loaded");
    });
    return [around, this.frame];
  }

  #address() {
    return thumbnail(this.film.id, this.moment.poster, devicePixelRatio > 1.4 ? 480 : 240);
  }

  #sayMissing() {
    this.toggle.disabled = true;
    this.element.classList.add("frameless");
    this.#say(sentence(this.film.reason || "the file is not there"));
    this.#label("Cannot play");
  }

  #openAt(second, still = false) {
    this.onOpen();
    this.playback = new Playback(this.film, this.moment, second ?? this.moment.start, still);
    this.controls = new Controls(this, () => {
      this.close();
      this.toggle.focus();
    });
    this.toggle.before(this.playback.video);
    this.element.append(this.controls.element);
    this.element.classList.add("open");
    this.playback.addEventListener("state", () => this.#showState());
    this.playback.addEventListener("time", () => this.#showTime());
    this.#showState();
    this.#showTime();
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.element.requestFullscreen?.().catch(() => {});
  }

  #showState() {
    const { state, message } = this.playback;
    this.element.dataset.state = state;
    this.#label(LABELS[state]);
    this.toggle.querySelector("svg").replaceWith(icon(state === "playing" ? "pause" : "play"));
    this.#say(state === "ended" ? this.#ending() : message);
    if (this.playback.throughPreview && this.badge.hidden) this.#sayPreview("not for this browser");
  }

  #ending() {
    return this.playback.atEndOfFilm ? "The film ends here." : "The moment ends here. Play again to go on.";
  }

  #showTime() {
    const { time } = this.playback;
    this.controls.showTime(time);
    this.onTime(time);
  }

  #label(verb = this.#verb) {
    this.#verb = verb;
    const { name } = this.film;
    const { start, end } = this.moment;
    const whole = end - start > this.film.length - 0.5;
    const words = whole ? `${verb}: ${name}` : `${verb}: ${name}, from ${spoken(start)} to ${spoken(end)}`;
    if (this.toggle.getAttribute("aria-label") !== words) this.toggle.setAttribute("aria-label", words);
    this.toggle.title = whole ? verb : `${verb} ${span(start, end)}`;
  }

  #say(text) {
    this.note.textContent = text;
    this.note.hidden = !text;
  }
}
