// The ends of a moment, as they are dragged: from frame to frame, and to where shots begin.

/** @import { Moment } from "./moment.js" */

/** Pixels from which on an end goes to where a shot begins. */
const SNAP = 9;

/**
 * What an end is dragged along.
 * @typedef {{shots: ReturnType<typeof import("./shots.js").shotsOf>, secondAt: function(PointerEvent): number,
 *     secondsPerPixel: function(): number, onShow: function(number): void}} Ground `onShow` is told which second to show
 */

/** Tells `onMove` of a pointer that is down on something, until it is up. */
export function follow(event, target, onMove) {
  target.setPointerCapture(event.pointerId);
  const stop = () => {
    target.removeEventListener("pointermove", onMove);
    for (const name of ["pointerup", "pointercancel"]) target.removeEventListener(name, stop);
  };
  target.addEventListener("pointermove", onMove);
  for (const name of ["pointerup", "pointercancel"]) target.addEventListener(name, stop);
  event.preventDefault();
}

/**
 * Drags the "start" or "end" of a moment with a pointer that has just gone down on its handle.
 * @param {PointerEvent} event
 * @param {"start" | "end"} which
 * @param {Moment} moment
 * @param {Ground} ground
 */
export function dragEnd(event, which, moment, ground) {
  if (event.button !== 0) return;
  const { shots, secondAt, secondsPerPixel } = ground;
  const off = secondAt(event) - moment[which];
  shots.load(moment[which] - 5, moment[which] + 5);
  follow(event, event.currentTarget, (moved) => {
    const second = secondAt(moved) - off;
    const shot = moved.altKey ? null : shots.near(second, SNAP * secondsPerPixel());
    moveEnd(which, shot ?? shots.frame(second + 0.5 / shots.rate), moment, ground);
  });
  event.stopPropagation();
}

/** Moves an end to a second, as far as there is a frame between both, and shows the frame there. */
export function moveEnd(which, second, moment, { shots, onShow }) {
  const { start, end } = moment;
  const frame = 1 / shots.rate;
  if (which === "start") moment.set(Math.min(second, end - frame), end);
  else moment.set(start, Math.max(second, start + frame));
  onShow(which === "start" ? moment.start + frame / 2 : moment.end - frame / 2);
}
