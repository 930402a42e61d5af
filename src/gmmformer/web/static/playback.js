// Plays a moment of a film: from its start, stopping at its end, and on from there when asked again.

import { Problem, media, preview, reasonOf } from "./api.js";
import { element } from "./dom.js";
import { preferences } from "./preferences.js";

/** @import { Moment } from "./moment.js" */

/** Seconds of a preview, at most: longer ones are played in pieces, so that the first is soon there. */
const PIECE = 30;
/** How often a busy server is asked again for a preview. */
const TRIES = 5;

let active = null;

/**
 * One film, playing. Times are seconds of the film, whatever it is that plays.
 *
 * Events: "time" (it moved), "state" (`state` changed: "loading", "playing", "paused", "ended" - the moment, or the
 * film -, "failed"; `message` says why it waits or fails).
 */
export class Playback extends EventTarget {
  #stopAt;
  #moved = () => this.#stopAt !== null && (this.#stopAt = this.moment.end);
  #piece = null; // what of the film the video holds, where it is a preview
  #previews;
  #wanted;
  #tries = 0;
  #closed = false;
  #busyTimer = 0;
  #still; // whether it is to stand where it is put, instead of playing from there

  /**
   * @param {{id: number, length: number, playable: boolean}} film
   * @param {Moment} moment
   * @param {number} from where to begin
   * @param {boolean} still whether to show what is there and wait
   */
  constructor(film, moment, from = moment.start, still = false) {
    super();
    active?.pause();
    active = this;
    this.film = film;
    this.moment = moment;
    this.#still = still;
    this.#previews = !film.playable;
    this.video = element("video", { playsinline: true, preload: "auto", disableremoteplayback: true, tabindex: "-1" });
    this.apply();
    this.moment.addEventListener("change", this.#moved);
    this.state = "loading";
    this.message = "";
    this.#listen();
    this.#aim(from);
    this.#load(from);
  }

  /** Where it is. */
  get time() {
    return this.video.readyState ? this.video.currentTime + (this.#piece?.start ?? 0) : this.#wanted;
  }

  get playing() {
    return !this.video.paused && !this.video.ended;
  }

  /** Whether it plays something made for it, because the browser cannot play the file. */
  get throughPreview() {
    return this.#previews;
  }

  /** Whether there is nothing left to go on with. */
  get atEndOfFilm() {
    const end = this.#atEndOfPiece ? this.#piece.end : this.time;
    return end > this.film.length - 0.3;
  }

  /** Plays another moment of the film from now on: as soon as a second of it is chosen. */
  use(moment) {
    this.moment.removeEventListener("change", this.#moved);
    this.moment = moment;
    this.moment.addEventListener("change", this.#moved);
    this.#stopAt = null;
  }

  /** Plays as loud and as fast as is liked now. */
  apply() {
    const { volume, muted, speed } = preferences;
    Object.assign(this.video, { volume, muted, defaultPlaybackRate: speed, playbackRate: speed });
  }

  /** Plays, or stops; after the end of the moment it goes on with the film, after the end of the film from the moment's start. */
  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.state === "failed") return;
    if (active !== this) active?.pause();
    active = this;
    this.#still = false;
    if (this.state === "ended" && this.atEndOfFilm) return this.seek(this.moment.start);
    if (this.state === "ended") this.#stopAt = null;
    if (this.state === "ended" && this.#atEndOfPiece) this.#load(this.#piece.end);
    else this.#start();
  }

  pause() {
    this.video.pause();
  }

  /** Plays from a second on; inside the moment, to its end. */
  seek(second) {
    this.#still = false;
    this.#go(second);
  }

  /** Stops, and shows what is on screen at a second. */
  show(second) {
    this.#still = true;
    this.video.pause();
    this.#go(second);
    if (this.state !== "loading") this.#become("paused");
  }

  #go(second) {
    const target = Math.min(Math.max(second, 0), Math.max(this.film.length - 0.01, 0));
    this.#aim(target);
    this.#wanted = target;
    if (!this.#previews) this.video.currentTime = target;
    else if (target >= this.#piece.start && target < this.#piece.end) this.video.currentTime = target - this.#piece.start;
    else return this.#load(target);
    return this.#start();
  }

  close() {
    this.#closed = true;
    this.moment.removeEventListener("change", this.#moved);
    clearTimeout(this.#busyTimer);
    if (active === this) active = null;
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    this.video.remove();
  }

  #start() {
    if (this.#still) return;
    this.video.play().catch((error) => {
      if (!this.#closed && error.name === "NotAllowedError") this.#become("paused");
    });
  }

  get #atEndOfPiece() {
    return this.#piece !== null && (this.video.ended || this.time > this.#piece.end - 0.3);
  }

  // What begins inside the moment stops at its end.
  #aim(second) {
    const { start, end } = this.moment;
    this.#stopAt = second < end - Math.min(0.2, (end - start) / 2) && second >= start - 0.2 ? end : null;
  }

  #load(start) {
    this.#wanted = start;
    this.#become("loading", this.#previews ? "Preparing a preview" : "");
    if (this.#previews)
      this.#piece = { start, end: Math.min(this.#stopAt ?? Infinity, start + PIECE, this.film.length) };
    this.video.src = this.#previews ? preview(this.film.id, this.#piece.start, this.#piece.end) : media(this.film.id);
    this.#start();
  }

  #listen() {
    const on = (event, listener) => this.video.addEventListener(event, () => this.#closed || listener());
    on("loadedmetadata", () => {
      if (!this.#piece) this.video.currentTime = this.#wanted;
      if (this.#still) this.#become("paused");
    });
    on("playing", () => {
      this.#tries = 0;
      this.#become("playing");
      this.#watch();
    });
    on("waiting", () => this.state === "playing" && this.#become("loading"));
    on("pause", () => this.state !== "ended" && this.state !== "failed" && !this.video.ended && this.#become("paused"));
    on("ended", () =>
      this.#atEndOfPiece && this.#stopAt !== this.#piece.end && !this.atEndOfFilm
        ? this.#load(this.#piece.end)
        : this.#become("ended"),
    );
    on("seeked", () => this.dispatchEvent(new Event("time")));
    on("timeupdate", () => this.#look());
    on("error", () => this.video.hasAttribute("src") && this.#failed());
  }

  // "timeupdate" comes four times a second, which is too late to stop at a frame; and frames are not drawn in a hidden tab.
  #watch() {
    const step = () => {
      this.#look();
      if (this.playing && !this.#closed) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  #look() {
    if (this.#closed) return;
    if (this.playing && !this.video.seeking && this.#stopAt !== null && this.time >= this.#stopAt) {
      this.#become("ended");
      this.video.pause();
      if (this.time > this.#stopAt + 0.01)
        this.video.currentTime = Math.max(0, this.#stopAt - 0.01 - (this.#piece?.start ?? 0));
    }
    this.dispatchEvent(new Event("time"));
  }

  async #failed() {
    const failedAt = this.video.src;
    const reason = await reasonOf(failedAt);
    if (this.#closed || this.video.src !== failedAt) return;
    if (reason instanceof Problem && [429, 503].includes(reason.status) && this.#tries < TRIES) {
      this.#tries += 1;
      this.#become("loading", "The server is busy; waiting");
      this.#busyTimer = setTimeout(() => this.#load(this.#wanted), 1000 * (reason.retryAfter ?? 2));
    } else if (reason) {
      this.#become("failed", reason.message);
    } else if (!this.#previews) {
      this.#previews = true;
      this.#load(this.#wanted);
    } else {
      this.#become("failed", "This browser cannot play the film.");
    }
  }

  #become(state, message = "") {
    this.state = state;
    this.message = message;
    this.dispatchEvent(new Event("state"));
  }
}
