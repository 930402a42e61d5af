// Plays a moment of a film: from its start, stopping at its end, and on from there when asked again.

import { Unreachable, isPassing, media, preview, reasonOf } from "./api.js";
import { Again } from "./connection.js";
import { element } from "./dom.js";
import { preferences } from "./preferences.js";

/** @import { Moment } from "./moment.js" */

/** Seconds of a preview, at most: longer ones are played in pieces, so that the first is soon there. */
const PIECE = 30;

let active = null;

/**
 * One film, playing. Times are seconds of the film, whatever it is that plays.
 *
 * Events: "time" (it moved), "state" (`state` changed: "loading", "playing", "paused", "ended" - the moment, or the
 * film -, "waiting" for the server, "failed"; `message` says why it waits or fails).
 */
export class Playback extends EventTarget {
  #stopAt;
  #moved = () => this.#stopAt !== null && (this.#stopAt = this.moment.end);
  #piece = null; // what of the film the video holds, where it is a preview
  #previews;
  #wanted;
  #loads = 0;
  #doubted = false; // whether what did not play was loaded once more, since a break of the network looks the same
  #again = new Again(() => this.#load(this.#wanted));
  #closed = false;
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

  /**
   * Plays, or stops; after the end of the moment it goes on with the film, after the end of the film from the moment's start.
   * What waits or failed is tried again.
   */
  toggle() {
    if (this.playing && !this.#stuck) this.pause();
    else this.play();
  }

  play() {
    if (active !== this) active?.pause();
    active = this;
    this.#still = false;
    if (this.#stuck) return this.#load(this.#wanted);
    if (this.state === "ended" && this.atEndOfFilm) return this.seek(this.moment.start);
    if (this.state === "ended") this.#stopAt = null;
    if (this.state === "ended" && this.#atEndOfPiece) this.#load(this.#piece.end);
    else this.#start();
  }

  pause() {
    if (this.#stuck) this.#still = true;
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
    if (this.state !== "loading" && !this.#stuck) this.#become("paused");
  }

  get #stuck() {
    return this.state === "waiting" || this.state === "failed";
  }

  #go(second) {
    const target = Math.min(Math.max(second, 0), Math.max(this.film.length - 0.01, 0));
    this.#aim(target);
    this.#wanted = target;
    if (this.#stuck) return this.#load(target);
    if (!this.#previews) this.video.currentTime = target;
    else if (target >= this.#piece.start && target < this.#piece.end) this.video.currentTime = target - this.#piece.start;
    else return this.#load(target);
    return this.#start();
  }

  close() {
    this.#closed = true;
    this.moment.removeEventListener("change", this.#moved);
    this.#again.stop();
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
    this.#again.stop();
    this.#loads += 1;
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
      if (!this.#still) return;
      this.#again.done();
      this.#become("paused");
    });
    on("playing", () => {
      this.#again.done();
      this.#doubted = false;
      this.#become("playing");
      this.#watch();
    });
    on("waiting", () => this.state === "playing" && this.#become("loading"));
    on("pause", () => this.state !== "ended" && !this.#stuck && !this.video.ended && this.#become("paused"));
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
    const [load, code] = [this.#loads, this.video.error?.code];
    this.#wanted = this.time;
    const reason = await reasonOf(this.video.src);
    if (this.#closed || load !== this.#loads) return;
    if (isPassing(reason) || (!reason && code === MediaError.MEDIA_ERR_NETWORK)) this.#wait(reason);
    else if (reason) this.#become("failed", reason.message);
    else if (code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED && !this.#doubted) {
      this.#doubted = true;
      this.#load(this.#wanted);
    } else if (!this.#previews) {
      this.#previews = true;
      this.#doubted = false;
      this.#load(this.#wanted);
    } else this.#become("failed", "This browser cannot play the film.");
  }

  #wait(reason) {
    const silent = !reason || reason instanceof Unreachable;
    this.#become("waiting", silent ? "The server does not answer; it plays when it does" : "The server is busy; waiting");
    this.#again.wait(reason);
  }

  #become(state, message = "") {
    this.state = state;
    this.message = message;
    this.dispatchEvent(new Event("state"));
  }
}
