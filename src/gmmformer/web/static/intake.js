// Films into the library and back into it: folders to choose from, what is at work, how it ended, what was taken out.

import { isPassing } from "./api.js";
import { Again } from "./connection.js";
import { element, icon } from "./dom.js";
import { shortFolder } from "./folders.js";
import { clock, grouped, plural } from "./format.js";
import * as api from "./intake_api.js";
import { announce, tell, working } from "./messages.js";
import { Uploads } from "./upload.js";

/** @import { Tray } from "./tray.js" */

/** What can be done to a library whose server may read folders of films. */
export class Intake {
  #last = null;
  #turn = 0;
  #looked = 0;
  #again = new Again(() => this.#renew());

  /** @param {{changed: function(): Promise<void>, tray: Tray}} page `changed` shows the library anew */
  constructor({ changed, tray }) {
    this.changed = changed;
    this.tray = tray;
    this.browser = element("div", { class: "box", id: "browse", hidden: true });
    this.removed = element("div", { class: "box", id: "removed", hidden: true });
    this.add = this.#opener("Add films", this.browser, () => this.#browse(""));
    this.add.classList.add("strong");
    this.bin = this.#opener("Removed films", this.removed, () => this.#showRemoved());
    this.again = action("Look again", "", async () => this.take(await api.lookAgain()));
    this.again.title = "Tries again films that could not be read, and takes in anew those whose files have changed";
    this.uploads = new Uploads((state) => this.take(state));
    this.wishes = element("ul", { class: "wishes" });
    this.outcome = element("div", { class: "outcome", role: "status" });
    this.element = element(
      "section",
      { class: "intake", "aria-label": "Films in and out", hidden: true },
      element("div", { class: "line buttons" }, this.add, this.again, this.bin),
      this.uploads.element,
      this.wishes,
      this.outcome,
      this.browser,
      this.removed,
    );
  }

  /** Takes what the library holds: whether it can be changed at all. */
  takeLibrary(held) {
    this.element.hidden = !held.changeable;
    this.sendable = held.uploads > 0;
  }

  /** Takes what is done, waits to be, and was done last. */
  take({ doing, stopping, waiting, last }) {
    const rows = [
      ...(doing ? [this.#wish(doing, stopping ? "Stopping" : "Now", stopping)] : []),
      ...waiting.map((wish) => this.#wish(wish, "Then", false)),
    ];
    const focused = /** @type {HTMLElement} */ (document.activeElement)?.dataset.wish;
    this.wishes.replaceChildren(...rows);
    /** @type {HTMLElement | null} */ (focused && this.wishes.querySelector(`[data-wish="${focused}"]`))?.focus();
    const fresh = last && this.#last !== null && last.number !== this.#last;
    this.#last = last?.number ?? 0;
    if (last && !doing) this.outcome.replaceChildren(...told(last));
    else this.outcome.replaceChildren();
    if (fresh) this.#renew();
  }

  // Shows anew what was changed, in all that is open.
  async #renew() {
    this.#again.stop();
    await this.changed();
    try {
      if (!this.browser.hidden) await this.#browse(this.place);
      if (!this.removed.hidden) await this.#showRemoved();
      this.#again.done();
    } catch (error) {
      if (isPassing(error)) this.#again.wait(error);
      else tell(error.message, { error: true });
    }
  }

  /** Takes a film out of the library; its file stays, and so does a way back. */
  async remove(film) {
    await api.removeFilms([film.id]).catch((error) => {
      if (error.status !== 404) throw error; // else it is out already: the answer to the first try was lost
    });
    await this.#renew();
    tell(`${film.name} is out of the library; its file stays where it is.`, {
      action: { text: "Undo", run: () => working(element("button"), () => this.#back([film.id])) },
    });
  }

  async #back(ids) {
    const { films } = await api.restoreFilms(ids);
    this.tray.renumber(new Map(films.map(({ was, id }) => [was, id])));
    await this.#renew();
    announce(`${plural(films.length, "film")} back in the library.`);
  }

  #opener(text, panel, fill) {
    const button = element("button", { type: "button", "aria-expanded": "false", "aria-controls": panel.id }, text);
    button.addEventListener("click", () =>
      working(button, async () => {
        const open = panel.hidden;
        if (open) await fill();
        panel.hidden = !open;
        button.setAttribute("aria-expanded", String(open));
      }),
    );
    return button;
  }

  #wish(wish, when, stopping) {
    const what = wish.what === "again" ? "looking again at what failed or has changed" : `adding ${named(wish.places)}`;
    const cancel = action("Cancel", "small", async () => this.take(await api.cancelIntake(wish.number)));
    cancel.dataset.wish = wish.number;
    cancel.disabled = stopping;
    cancel.setAttribute("aria-label", `Cancel ${what}`);
    return element("li", { class: "line" }, element("span", {}, `${when}: ${what}`), cancel);
  }

  // The folder asked for last is shown, whichever answer comes last.
  async #browse(path) {
    const before = this.place;
    const turn = ++this.#turn;
    this.place = path;
    const asked = async () => {
      const folder = await api.folders(path);
      return path || folder.folders.length !== 1 ? folder : api.folders(folder.folders[0].path);
    };
    const folder = await asked().catch((error) => {
      if (turn === this.#turn) this.place = before;
      throw error;
    });
    if (turn !== this.#turn) return;
    this.place = folder.path ?? "";
    const inside = this.browser.contains(document.activeElement);
    const title = element("h2", { tabindex: "-1" }, folder.path ?? "Folders that films can be added from");
    const up = action("Up", "small", () => this.#browse(folder.parent ?? ""));
    up.disabled = folder.path === null;
    const all = this.#adding(folder.path, "Add this folder", "");
    all.hidden = folder.path === null;
    const rows = [
      ...folder.folders.map((entry) => this.#entry(entry, this.#folder(entry))),
      ...folder.films.map((entry) => this.#entry(entry, element("span", { class: "name" }, entry.name))),
    ];
    const nothing = element("p", { class: "note" }, "No folder and no film in here.");
    this.browser.replaceChildren(
      element("div", { class: "line" }, up, title, this.sendable && folder.path ? this.uploads.button(folder.path) : null, all),
      rows.length ? element("ul", { "aria-label": "Folders and films" }, ...rows) : nothing,
    );
    if (inside) title.focus();
  }

  #folder(entry) {
    const open = action("", "quiet name", () => this.#browse(entry.path));
    open.append(icon("folder"), entry.name);
    open.setAttribute("aria-label", `Open ${entry.name}`);
    return open;
  }

  #entry(entry, name) {
    const there = element("span", { class: "note" }, "In the library");
    return element("li", { class: "line" }, name, entry.known ? there : this.#adding(entry.path, "Add", "small"));
  }

  #adding(path, text, classes) {
    const button = action(text, classes, async () => {
      this.take(await api.addFilms([path]));
      tell(`${named([path])} is being taken in.`);
    });
    button.setAttribute("aria-label", `${text}: ${path}`);
    return button;
  }

  // The answer to the last question is shown, whichever comes last.
  async #showRemoved() {
    const turn = ++this.#looked;
    const { total, films } = await api.removedFilms();
    if (turn !== this.#looked) return;
    const inside = this.removed.contains(document.activeElement);
    const rows = films.map((film) => {
      const back = action("Bring back", "small", () => this.#back([film.id]));
      back.setAttribute("aria-label", `Bring back ${film.name}`);
      const name = element("span", { class: "name", title: film.film }, film.name);
      return element("li", { class: "line" }, name, element("span", { class: "note" }, clock(film.length)), back);
    });
    const title = element("h2", { tabindex: "-1" }, total ? `${plural(total, "film")} taken out` : "No film was taken out");
    const words = "Their files are where they were. They can be brought back for 30 days, and after that until the library is compacted.";
    const all = action("Bring all back", "small", () => this.#back(films.map((film) => film.id)));
    all.hidden = films.length < 2;
    this.removed.replaceChildren(
      element("div", { class: "line" }, title, all),
      element("p", { class: "note" }, words),
      element("ul", { "aria-label": "Removed films" }, ...rows),
    );
    if (inside) title.focus();
  }
}

const SIGNS = { Add: "add", Cancel: "close", Up: "up", "Bring back": "undo", "Bring all back": "undo" };

/** A button, with a sign for some words, that shows that its job is done and says what goes wrong. */
function action(text, classes, job) {
  const sign = SIGNS[text];
  const button = element("button", { type: "button", class: classes || null }, sign && icon(sign), text);
  button.addEventListener("click", () => working(button, job));
  return button;
}

function named(places) {
  const names = places.map((path) => path.replace(/\/+$/, "").split("/").at(-1) || path);
  return names.length > 2 ? `${names[0]} and ${plural(names.length - 1, "other")}` : names.join(" and ");
}

/** How a wish ended, in words. */
function told({ what, places, added, replaced, unchanged, failed, gone, odd, left_out: left, cancelled, error }) {
  const name = what === "again" ? "Looked again" : named(places);
  const counts = [
    added || what === "add" ? `${plural(added, "film")} added` : "",
    replaced ? `${grouped(replaced)} had changed` : "",
    unchanged ? `${grouped(unchanged)} were there already` : "",
    failed ? `${grouped(failed)} could not be read` : "",
    gone ? `the files of ${grouped(gone)} are gone` : "",
  ].filter(Boolean);
  const said = error ?? (cancelled ? `cancelled; ${plural(added, "film")} added until then` : counts.join(", ") || "nothing to do");
  const lists = [
    [odd, "taken in, but odd"],
    [left, "not looked at"],
  ].flatMap(([films, title]) => (films.length ? [details(films, title)] : []));
  return [element("p", { class: error ? "error" : null }, `${name}: ${said}`), ...lists];
}

function details(films, title) {
  const rows = films.map(({ film, reason }) =>
    element(
      "li",
      {},
      element("span", { class: "name", title: film }, shortFolder(film)),
      element("span", { class: "why" }, reason),
    ),
  );
  return element(
    "details",
    { class: "failures" },
    element("summary", {}, `${plural(films.length, "film")} ${title}`),
    element("ul", {}, ...rows),
  );
}
