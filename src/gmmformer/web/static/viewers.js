// The viewer, which is fetched when a film is first opened in it: few visits need it, and none at first.

import { arrived } from "./api.js";

/** @import { Tray } from "./tray.js" */
/** @import { Viewer } from "./viewer.js" */

/** Opens films large. */
export class Viewers {
  /** @type {Viewer | null} */
  #viewer = null;

  /** @param {Tray} tray */
  constructor(tray) {
    this.tray = tray;
  }

  /** Sees to it that a film can be opened. */
  async fetch() {
    const [{ Viewer }] = await Promise.all([arrived(import("./viewer.js")), arrived(styled())]);
    this.#viewer ??= new Viewer(this.tray);
  }

  /** Opens a moment of a film; what it takes is what the viewer takes. */
  open(film, moment, options) {
    this.#viewer.open(film, moment, options);
  }

  /** Whether a film is open. */
  shows(film) {
    return Boolean(this.#viewer?.shows(film));
  }

  /** Closes it since the address names no film any more. */
  leave() {
    this.#viewer?.leave();
  }
}

let styles = null;

/** Asks for the style sheet that only the viewer and the library view need. */
export function styled() {
  const link = /** @type {HTMLLinkElement} */ (document.querySelector("link[data-later]"));
  styles ??= new Promise((resolve, reject) => {
    link.onload = resolve;
    link.onerror = () => {
      styles = null;
      link.rel = "";
      reject(new Error("no style sheet"));
    };
    link.rel = "stylesheet";
  });
  return styles;
}
