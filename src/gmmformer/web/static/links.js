// Links to moments: copied from an open film, and followed to the viewer.

import { film, isPassing } from "./api.js";
import { addressOf, readAddress, spotFor, spotOf } from "./address.js";
import { Again } from "./connection.js";
import { tell } from "./messages.js";

/** @import { Screen } from "./screen.js" */
/** @import { Tray } from "./tray.js" */
/** @import { Viewers } from "./viewers.js" */

const GONE = "The film that this link leads to is no longer in the library.";

/** Opens what the address names. */
export class Links {
  #wanted = null;
  #again = new Again(() => this.#open());

  /** @param {Tray} tray  @param {Viewers} viewer */
  constructor(tray, viewer) {
    this.tray = tray;
    this.viewer = viewer;
  }

  /** Opens the film that the address says is open large, else one that was to play and has no card; else none. */
  follow(other) {
    const { film: spot, second } = readAddress();
    this.#go(spot || other, spot ? second : 0);
    if (!spot) this.viewer.leave();
  }

  #go(spot, second) {
    this.#again.stop();
    this.#wanted = spotOf(spot) && { ...spotOf(spot), second };
    if (this.#wanted) this.#open();
  }

  async #open() {
    const wanted = this.#wanted;
    const { id, start, second } = wanted;
    try {
      const found = await film(id);
      if (this.#wanted !== wanted) return;
      this.#again.done();
      if (!found?.available) return tell(found ? `${found.name} cannot be played: ${found.reason}.` : GONE, { error: true });
      const end = Math.min(wanted.end, found.length);
      if (end <= start) return tell(`${found.name} ends before this link begins.`, { error: true });
      await this.viewer.fetch();
      if (this.#wanted !== wanted || this.viewer.shows(found)) return;
      const moment = this.tray.moment(found, { start, end, query: readAddress().query });
      this.viewer.open(found, moment, { second: second || start });
    } catch (error) {
      if (this.#wanted !== wanted) return;
      if (isPassing(error)) this.#again.wait(error);
      else if (error.status !== 401) tell(error.message, { error: true });
    }
  }
}

/** Copies a link to the moment of an open film, at the second on screen, as it was found. */
export async function copyLink({ film: of, moment, time }) {
  const state = readAddress();
  const { query } = moment;
  const found = state.view === "search" && state.query === query ? state : { ...readAddress("?"), query };
  const second = Number(time.toFixed(1));
  const link = { ...found, results: 0, play: "", film: spotFor(of, moment), second };
  const { href } = new URL(addressOf(link), document.baseURI);
  try {
    await navigator.clipboard.writeText(href);
    tell("A link to this moment is copied. Who opens it sees it with the same words, at this second.");
  } catch {
    tell(href); // without https, browsers do not let a page copy
  }
}
