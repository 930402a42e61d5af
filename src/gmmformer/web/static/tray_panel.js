// What is in the tray's panel: its moments in order, other trays, and what is done with all of it.

import * as api from "./api.js";
import { Again } from "./connection.js";
import { element, iconButton, setAttributes } from "./dom.js";
import { ExportForm } from "./export_form.js";
import { plural } from "./format.js";
import { announce, save, tell, working } from "./messages.js";
import { TrayRow } from "./tray_row.js";

/** @import { KeptTrays } from "./kept.js" */
/** @import { Tray } from "./tray.js" */
/** @import { Trays } from "./trays.js" */

const GONE = "No longer in this library";

/** Shows the tray, and lets it be changed. */
export class TrayPanel {
  #rows = new Map();
  #gone = new Set(); // ids of films that this library does not have
  #again = new Again(() => this.tray.open && this.look());
  #trays;

  /** @param {Tray} tray  @param {Trays} trays */
  constructor(tray, trays) {
    this.tray = tray;
    this.#trays = trays;
    this.list = element("ol", {});
    this.empty = element(
      "p",
      { class: "note" },
      "Nothing picked yet. “Tray” below a result puts its moment here; from here all go to an editing program.",
    );
    this.tray.panel.append(...this.#parts());
    trays.addEventListener("change", () => this.#show());
    this.#show();
  }

  /** Shows where the trays are kept. */
  keep({ element: where }) {
    if (!where.isConnected) this.foot.before(where);
  }

  /** Folds the moment that plays here; whether there was one. */
  closePlayer() {
    const open = [...this.#rows.values()].find((row) => row.fold());
    open?.thumb.focus();
    return Boolean(open);
  }

  #parts() {
    this.shut = iconButton("close", "Close the tray", () => {
      this.tray.show(false);
      this.tray.opener.focus();
    });
    this.clear = element(
      "button",
      { type: "button", class: "quiet", on: { click: () => this.#clear() } },
      "Empty the tray",
    );
    this.all = element(
      "button",
      { type: "button", class: "quiet", title: "Every moment as mp4, in one zip", on: { click: () => this.#saveAll() } },
      "Save all as mp4",
    );
    this.foot = element(
      "div",
      { class: "tray-foot" },
      new ExportForm(() => this.#present()).element,
      element("div", { class: "line" }, this.all, this.clear),
    );
    return [this.#head(), this.empty, this.list, this.foot];
  }

  #head() {
    this.which = element("select", { "aria-label": "Which tray", on: { change: () => this.#choose() } });
    this.name = element("input", {
      "aria-label": "Name of the tray",
      maxlength: 60,
      hidden: true,
      on: { blur: () => this.#named(true), keydown: (event) => this.#nameKey(event) },
    });
    this.undoing = iconButton("undo", "Nothing to undo", () => this.tray.undo());
    return element(
      "header",
      {},
      element("h2", { id: "tray-title", class: "hidden" }, "Tray"),
      this.which,
      this.name,
      iconButton("pencil", "Rename the tray", () => this.#rename()),
      iconButton("add", "Another tray", () => this.#trays.create()),
      iconButton("bin", "Throw the tray away", () => this.#discard()),
      this.undoing,
      this.shut,
    );
  }

  #choose() {
    this.closePlayer();
    this.#trays.choose(this.which.selectedIndex);
    this.which.focus();
    this.look();
  }

  #rename() {
    this.name.value = this.#trays.names[this.#trays.current];
    this.name.hidden = false;
    this.which.hidden = true;
    this.name.select();
  }

  #nameKey(event) {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    this.#named(event.key === "Enter");
    this.which.focus();
  }

  #named(kept) {
    if (this.name.hidden) return;
    const name = this.name.value.trim();
    this.name.hidden = true;
    this.which.hidden = false;
    if (kept && name && name !== this.#trays.names[this.#trays.current]) this.#trays.rename(name);
  }

  #discard() {
    const name = this.#trays.names[this.#trays.current];
    this.#trays.discard();
    this.#tellUndo(`Threw “${name}” away.`);
  }

  #tellUndo(text) {
    tell(text, { action: { text: "Undo", run: () => this.tray.undo() } });
  }

  #show() {
    const { items, names, current, undoable } = this.#trays;
    const count = items.size;
    for (const [key, row] of this.#rows)
      if (!items.has(key)) {
        row.fold();
        row.element.remove();
        this.#rows.delete(key);
      }
    [...items].forEach(([key, item], index) => {
      const row = this.#rows.get(key) ?? this.#newRow(key);
      row.update(item, this.#gone.has(item.id) ? GONE : "");
      if (this.list.children[index] !== row.element) this.list.insertBefore(row.element, this.list.children[index] ?? null);
    });
    this.which.replaceChildren(...names.map((name) => element("option", {}, name)));
    this.which.selectedIndex = current;
    const undo = undoable ? `Undo ${undoable}` : "Nothing to undo";
    setAttributes(this.undoing, { "aria-label": undo, title: undo, disabled: !undoable });
    this.empty.hidden = count > 0;
    this.foot.hidden = this.list.hidden = count === 0;
  }

  #newRow(key) {
    const row = new TrayRow(key, {
      film: api.film,
      moment: (film, span) => this.tray.moment(film, span),
      viewer: () => this.tray.viewer,
      onOpen: () => this.#rows.forEach((other) => other !== row && other.fold()),
      onMove: (by) => this.#move(row, by),
      onDrag: (event) => this.#drag(event, row),
      onRemove: () => this.#removeRow(key),
      onChange: (change, what) => this.#trays.change(key, change, what),
    });
    this.#rows.set(key, row);
    return row;
  }

  #move(row, by) {
    const keys = [...this.#trays.items.keys()];
    const from = keys.indexOf(row.key);
    const to = Math.min(Math.max(from + by, 0), keys.length - 1);
    if (to === from) return;
    keys.splice(to, 0, ...keys.splice(from, 1));
    this.#order(keys, row.key);
    row.grip.focus();
    row.element.scrollIntoView({ block: "nearest" });
    announce(`Moved to place ${to + 1} of ${keys.length}.`);
  }

  #order(keys, moved) {
    this.#trays.put(
      keys.map((key) => [key, this.#trays.items.get(key)]),
      "moving a moment",
      `moving ${moved}`,
    );
  }

  #drag(event, row) {
    if (event.button !== 0) return;
    const { grip, element: dragged } = row;
    const move = ({ clientY }) => {
      const under = [...this.list.children].find((one) => {
        const { top, bottom } = one.getBoundingClientRect();
        return one !== dragged && clientY >= top && clientY <= bottom;
      });
      if (!under) return;
      const { top, bottom } = under.getBoundingClientRect();
      const after = under.compareDocumentPosition(dragged) & Node.DOCUMENT_POSITION_PRECEDING;
      if (after && clientY > (top + bottom) / 2) under.after(dragged);
      else if (!after && clientY < (top + bottom) / 2) under.before(dragged);
    };
    const stop = () => {
      removeEventListener("pointermove", move);
      for (const name of ["pointerup", "pointercancel"]) removeEventListener(name, stop);
      dragged.classList.remove("dragged");
      const places = new Map([...this.#rows].map(([key, one]) => [one.element, key]));
      const keys = [...this.list.children].map((one) => places.get(one));
      if (String(keys) !== String([...this.#trays.items.keys()])) this.#order(keys, row.key);
    };
    event.preventDefault();
    grip.focus();
    dragged.classList.add("dragged");
    addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, stop);
  }

  #removeRow(key) {
    const index = [...this.#trays.items.keys()].indexOf(key);
    this.tray.remove(key);
    this.#tellUndo("Took a moment out of the tray.");
    const rows = this.list.querySelectorAll("li");
    const next = rows[Math.min(index, rows.length - 1)];
    (next?.querySelector(".remove") ?? this.shut).focus();
  }

  #saveAll() {
    const moments = this.#present().map(({ id, start, end }) => ({ id, start, end }));
    working(this.all, async () => {
      save(await api.cuts(moments));
      tell(`Saved ${plural(moments.length, "moment")} as moments.zip.`);
    });
  }

  #clear() {
    const count = this.#trays.items.size;
    this.#trays.put([], "emptying the tray");
    this.#tellUndo(`Took ${plural(count, "moment")} out of the tray.`);
    this.shut.focus();
  }

  /** What of the tray this library has. */
  #present() {
    return [...this.#trays.items.values()].filter((item) => !this.#gone.has(item.id));
  }

  // Ids belong to a library: a tray that was filled from another one, or a film that was replaced, leads to nothing.
  /** Sees which of the moments this library has. */
  async look() {
    for (const id of new Set([...this.#trays.items.values()].map((item) => item.id))) {
      let film;
      try {
        film = await api.film(id);
      } catch (error) {
        return api.isPassing(error) ? this.#again.wait(error) : null;
      }
      const strange = [...this.#trays.items.values()].some((item) => item.id === id && item.film !== film?.film);
      if (strange === this.#gone.has(id)) continue;
      if (strange) this.#gone.add(id);
      else this.#gone.delete(id);
      this.#show();
    }
  }
}
