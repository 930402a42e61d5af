// The tray: moments that a person has picked, kept in the browser until they are exported or thrown away; one of several.

import * as api from "./api.js";
import { Again } from "./connection.js";
import { element, iconButton, setAttributes, within } from "./dom.js";
import { plural } from "./format.js";
import { announce, save, tell, working } from "./messages.js";
import { TrayRow } from "./tray_row.js";
import { Trays } from "./trays.js";

const GONE = "No longer in this library";

/** Picked moments. The event "change" says that there are others. */
export class Tray extends EventTarget {
  #trays = new Trays();
  #rows = new Map();
  #form = null; // of exports; it is fetched when the tray is first looked at
  #gone = new Set(); // ids of films that this library does not have
  #lookAgain = new Again(() => this.open && this.#look());

  /** @param {HTMLElement} panel  @param {HTMLButtonElement} opener */
  constructor(panel, opener) {
    super();
    this.panel = panel;
    this.opener = opener;
    /** What shows a moment large. */
    this.viewer = null;
    this.list = element("ol", {});
    this.empty = element(
      "p",
      { class: "note" },
      "Nothing picked yet. “Tray” below a result puts its moment here; from here all go to an editing program.",
    );
    this.kept = null;
    this.panel.append(...this.#parts());
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
      this.kept?.sync();
    } else this.closePlayer();
  }

  /** Folds the moment that plays here; whether there was one. */
  closePlayer() {
    const open = [...this.#rows.values()].find((row) => row.fold());
    open?.thumb.focus();
    return Boolean(open);
  }

  /** Takes what the library holds: whether the server keeps trays too. */
  async takeLibrary(held) {
    if (!held.keeps_trays) return;
    const { KeptTrays } = await api.arrived(import("./kept.js"));
    if (!this.kept) this.foot.before((this.kept = new KeptTrays(this.#trays)).element);
    this.kept.takeLibrary(held);
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

  #parts() {
    this.shut = iconButton("close", "Close the tray", () => {
      this.show(false);
      this.opener.focus();
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
    this.undoing = iconButton("undo", "Nothing to undo", () => this.undo());
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
    this.#look();
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
    tell(text, { action: { text: "Undo", run: () => this.undo() } });
  }

  #key(event) {
    if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
    if (within(event).matches("input, textarea") || !this.#trays.undoable) return;
    event.preventDefault();
    this.undo();
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
    document.getElementById("picked").dataset.count = String(count);
    this.opener.setAttribute("aria-label", `Tray, ${plural(count, "moment")}`);
    this.opener.classList.toggle("filled", count > 0);
    this.dispatchEvent(new Event("change"));
  }

  #newRow(key) {
    const row = new TrayRow(key, {
      film: api.film,
      moment: (film, span) => this.moment(film, span),
      viewer: () => this.viewer,
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
    this.remove(key);
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

  async #fetchForm() {
    const { ExportForm } = await api.arrived(import("./export_form.js"));
    if (this.#form) return;
    this.#form = new ExportForm(() => this.#present());
    this.foot.prepend(this.#form.element);
  }

  // Ids belong to a library: a tray that was filled from another one, or a film that was replaced, leads to nothing.
  async #look() {
    try {
      await this.#fetchForm();
    } catch (error) {
      return this.#lookAgain.wait(error);
    }
    for (const id of new Set([...this.#trays.items.values()].map((item) => item.id))) {
      let film;
      try {
        film = await api.film(id);
      } catch (error) {
        return api.isPassing(error) ? this.#lookAgain.wait(error) : null;
      }
      const strange = [...this.#trays.items.values()].some((item) => item.id === id && item.film !== film?.film);
      if (strange === this.#gone.has(id)) continue;
      if (strange) this.#gone.add(id);
      else this.#gone.delete(id);
      this.#show();
    }
  }
}
