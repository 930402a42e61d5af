// The tray: moments that a person has picked, kept in the browser until they are exported or thrown away; one of several.

import { arrived } from "./api.js";
import { Again } from "./connection.js";
import { within } from "./dom.js";
import { plural } from "./format.js";
import { announce, tell } from "./messages.js";
import { Trays } from "./trays.js";
import { styled } from "./viewers.js";

/** Picked moments. The event "change" says that there are others. */
export class Tray extends EventTarget {
  #trays = new Trays();
  #inside = null; // what is in the panel; it is fetched when the tray is first looked at
  #kept = null;
  #fetching = new Again(() => this.open && this.#look());

  /** @param {HTMLElement} panel  @param {HTMLButtonElement} opener */
  constructor(panel, opener) {
    super();
    this.panel = panel;
    this.opener = opener;
    /** What shows a moment large. */
    this.viewer = null;
    addEventListener("keydown", (event) => this.#key(event));
    this.opener.addEventListener("click", () => this.show(this.panel.hidden));
    this.#trays.addEventListener("change", () => this.#show());
    this.#show();
  }

  get open() {
    return !this.panel.hidden;
  }

  has(key) {
    return this.#trays.items.has(key);
  }

  /** A moment of a film, which is as the tray has it, and the tray has it as it is changed. */
  moment(film, span) {
    return this.#trays.moment(film, span);
  }

  /** Puts a moment in, or takes it out. */
  toggle(moment) {
    if (this.has(moment.key)) return this.remove(moment.key);
    this.#trays.put([...this.#trays.items, [moment.key, moment.item]], "picking a moment");
    return announce(`Picked; ${plural(this.#trays.items.size, "moment")} in the tray.`);
  }

  remove(key) {
    const left = [...this.#trays.items].filter(([own]) => own !== key);
    this.#trays.put(left, "taking a moment out");
    announce(`Taken out; ${plural(left.length, "moment")} in the tray.`);
  }

  show(open) {
    this.panel.hidden = !open;
    document.body.classList.toggle("with-tray", open);
    this.opener.setAttribute("aria-expanded", String(open));
    if (open) {
      this.#look();
      this.#kept?.sync();
    } else this.closePlayer();
  }

  /** Folds the moment that plays here; whether there was one. */
  closePlayer() {
    return Boolean(this.#inside?.closePlayer());
  }

  /** Takes what the library holds: whether the server keeps trays too. */
  async takeLibrary(held) {
    if (!held.keeps_trays) return;
    const { KeptTrays } = await arrived(import("./kept.js"));
    this.#kept ??= new KeptTrays(this.#trays);
    this.#kept.takeLibrary(held);
    this.#inside?.keep(this.#kept);
  }

  /** Takes the ids that films have now, by those that they had. */
  renumber(ids) {
    this.#trays.renumber(ids);
  }

  /** Undoes the last change to any of the trays. */
  undo() {
    const what = this.#trays.undo();
    if (what) tell(`Undone: ${what}.`);
  }

  #key(event) {
    if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
    if (within(event).matches("input, textarea") || !this.#trays.undoable) return;
    event.preventDefault();
    this.undo();
  }

  #show() {
    const count = this.#trays.items.size;
    document.getElementById("picked").dataset.count = String(count);
    this.opener.setAttribute("aria-label", `Tray, ${plural(count, "moment")}`);
    this.opener.classList.toggle("filled", count > 0);
    this.dispatchEvent(new Event("change"));
  }

  async #look() {
    this.#fetching.stop();
    try {
      const [{ TrayPanel }] = await Promise.all([arrived(import("./tray_panel.js")), arrived(styled())]);
      this.#fetching.done();
      this.#inside ??= new TrayPanel(this, this.#trays);
      if (this.#kept) this.#inside.keep(this.#kept);
      this.#inside.look();
    } catch (error) {
      this.#fetching.wait(error);
    }
  }
}
