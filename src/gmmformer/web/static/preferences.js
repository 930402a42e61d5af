// How a person likes films to play: kept by the browser.

const STORED = "gmmformer.player";
export const SPEEDS = [0.25, 0.5, 1, 1.5, 2];

/** What is liked now: `volume` from 0 to 1, `muted`, `speed`. */
export const preferences = { volume: 1, muted: false, speed: 1, ...read() };

/** Likes something else from now on. */
export function prefer(change) {
  Object.assign(preferences, change);
  try {
    localStorage.setItem(STORED, JSON.stringify(preferences));
  } catch {
    // A browser that keeps nothing remembers as long as the page.
  }
}

function read() {
  try {
    const { volume, muted, speed } = JSON.parse(localStorage.getItem(STORED) ?? "{}");
    return {
      ...(volume >= 0 && volume <= 1 ? { volume } : {}),
      ...(typeof muted === "boolean" ? { muted } : {}),
      ...(SPEEDS.includes(speed) ? { speed } : {}),
    };
  } catch {
    return {};
  }
}
