// What a film that is open is moved in with: a bar to choose a second on, speed, sound, and the keys.

import { arrived } from "./api.js";
import { element, iconButton, relabel, within } from "./dom.js";
import { clock } from "./format.js";
import { working } from "./messages.js";
import { SPEEDS, prefer, preferences } from "./preferences.js";
import { shotsOf } from "./shots.js";
import { Strip } from "./strip.js";

/** @import { Screen } from "./screen.js" */

/** Seconds that an arrow moves, and that it moves with the shift key. */
const [FAR, NEAR] = [5, 1];
const OWN_KEYS = "input, select, textarea, [role=slider]";

/** The bar below the picture of an open screen. */
export class Controls {
  /** @param {Screen} screen that is open  @param {function(): void} onClose */
  constructor(screen, onClose) {
    this.screen = screen;
    this.clock = element("span", { class: "clock" });
    this.seek = new Strip(screen.film, screen.moment, (second) => screen.playFrom(second), "Seek");
    this.seek.letTrim((second) => screen.show(second));
    this.sound = iconButton("sound", "Sound off", () => this.#prefer({ muted: !preferences.muted }));
    this.volume = element("input", {
      type: "range",
      class: "volume",
      min: 0,
      max: 1,
      step: 0.05,
      "aria-label": "Volume",
      on: { input: () => this.#prefer({ volume: Number(this.volume.value), muted: this.volume.value === "0" }) },
    });
    this.speed = element(
      "select",
      { class: "speed", "aria-label": "Speed", on: { change: () => this.#prefer({ speed: Number(this.speed.value) }) } },
      ...SPEEDS.map((speed) => element("option", { value: speed }, `${speed}×`)),
    );
    const again = iconButton("again", "From the start of the moment", () => screen.playFrom(screen.moment.start));
    const link = iconButton("link", "Copy a link to this moment (l)", () => copyLink(screen, link));
    const whole = iconButton("whole", "Full screen", () => screen.fullScreen());
    const close = iconButton("close", "Close the player", onClose, "shut");
    this.element = element(
      "div",
      { class: "controls" },
      this.seek.element,
      element("div", { class: "line" }, this.clock, again, this.speed, this.sound, this.volume, link, whole, close),
    );
    this.#prefer({});
  }

  /** Shows where it plays. */
  showTime(time) {
    const text = `${clock(time)} / ${clock(this.screen.film.length)}`;
    if (this.clock.textContent !== text) this.clock.textContent = text;
    this.seek.showPlaying(time);
  }

  #prefer(change) {
    prefer(change);
    const { volume, muted, speed } = preferences;
    this.speed.value = String(speed);
    this.volume.value = String(muted ? 0 : volume);
    relabel(this.sound, muted ? "silent" : "sound", muted ? "Sound on" : "Sound off");
    this.screen.playback.apply();
  }
}

/**
 * Does what a key asks of an open film: i and o move the moment's ends to the frame on screen, comma and full stop step
 * from frame to frame, brackets from shot to shot, left and right some seconds, l copies a link.
 * @param {KeyboardEvent} event
 * @param {Screen} screen
 * @returns {boolean} whether it asked for anything
 */
export function playerKey(event, screen) {
  if (!screen.open || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || within(event).matches(OWN_KEYS)) return false;
  const act = {
    i: () => mark(screen, "begin"),
    o: () => mark(screen, "finish"),
    ",": () => step(screen, -1),
    ".": () => step(screen, 1),
    "[": () => jump(screen, false),
    "]": () => jump(screen, true),
    l: () => copyLink(screen, screen.controls.element),
    ArrowLeft: () => screen.playFrom(screen.time - (event.shiftKey ? NEAR : FAR)),
    ArrowRight: () => screen.playFrom(screen.time + (event.shiftKey ? NEAR : FAR)),
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return false;
  act();
  return true;
}

/** Copies a link to the moment. */
function copyLink(screen, button) {
  working(button, async () => (await arrived(import("./links.js"))).copyLink(screen));
}

/** Lets the moment begin with the frame on screen, or end after it. */
export async function mark(screen, which) {
  const [shots, { time }] = [shotsOf(screen.film), screen];
  await shots.load(time, time);
  screen.moment[which](shots.frame(time, which === "finish" ? 1 : 0));
}

/** Shows a frame before or after the one on screen. */
export async function step(screen, frames) {
  const [shots, { time }] = [shotsOf(screen.film), screen];
  screen.show(time);
  await shots.load(time, time);
  screen.show(shots.frame(screen.time, frames) + 0.5 / shots.rate);
}

/** Shows the first frame of the next shot, or of one before. */
export async function jump(screen, forward) {
  const shots = shotsOf(screen.film);
  screen.show(screen.time);
  screen.show((await shots.next(shots.frame(screen.time), forward)) + 0.5 / shots.rate);
}
