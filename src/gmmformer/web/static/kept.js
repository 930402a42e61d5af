// Trays that are kept on the server, under a person's name: what was changed in several browsers is joined, row by row.

import { Problem, isPassing, json } from "./api.js";
import { Again } from "./connection.js";
import { element } from "./dom.js";
import { momentKey } from "./moment.js";
import { announce } from "./messages.js";

/** @import { Trays } from "./trays.js" */

const [NAME, BASE] = ["gmmformer.name", "gmmformer.trays.kept"];
/** Milliseconds without a change until it is kept, and how often others may come between. */
const [REST, TRIES] = [800, 5];

/** Where the trays are kept, in words and in fact. */
export class KeptTrays {
  #timer = 0;
  #able = false;
  #busy = null;
  #again = new Again(() => this.sync());

  /** @param {Trays} trays */
  constructor(trays) {
    this.trays = trays;
    this.name = read(NAME) ?? "";
    this.base = read(BASE) ?? { revision: 0, trays: [] };
    this.field = element("input", { id: "tray-owner", maxlength: 60, autocomplete: "username", spellcheck: "false" });
    this.form = element(
      "form",
      { class: "line", hidden: true, on: { submit: (event) => this.#named(event) } },
      element("label", { for: "tray-owner" }, "Your name"),
      this.field,
      element("button", { type: "submit", class: "small" }, "Keep"),
    );
    this.text = element("span", {});
    this.change = element("button", { type: "button", class: "quiet", on: { click: () => this.#ask() } });
    this.line = element("p", { class: "note" }, this.text, this.change);
    this.element = element("div", { class: "kept" }, this.line, this.form);
    this.trays.addEventListener("change", () => this.#soon());
    addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.sync());
  }

  /** Takes whether the server keeps trays. */
  takeLibrary({ keeps_trays: able }) {
    const first = able && !this.#able;
    this.#able = able;
    if (first) this.sync();
    this.#show();
  }

  /** Joins what is here with what is kept on the server. */
  sync() {
    if (!this.#able || !this.name) return null;
    this.#busy ??= this.#join().finally(() => (this.#busy = null));
    return this.#busy;
  }

  async #join() {
    this.#again.stop();
    clearTimeout(this.#timer);
    const { name } = this;
    try {
      for (let tries = 0; tries < TRIES; tries += 1) {
        const theirs = await json(`api/trays?${new URLSearchParams({ name })}`);
        if (name !== this.name) return;
        const { base } = this;
        this.trays.mix((mine) => joined(base.trays, mine, theirs.trays));
        const mine = this.trays.told;
        this.#know(theirs);
        if (same(mine, theirs.trays)) break;
        try {
          this.#know(await json("api/trays", { method: "POST", body: { name, revision: theirs.revision, trays: mine } }));
          break;
        } catch (error) {
          if (!(error instanceof Problem && error.status === 409) || tries === TRIES - 1) throw error;
        }
      }
      this.#again.done();
      this.#show();
    } catch (error) {
      this.#show(error.message);
      if (isPassing(error)) this.#again.wait(error);
    }
  }

  #know(kept) {
    this.base = { revision: kept.revision, trays: kept.trays };
    write(BASE, this.base);
  }

  #soon() {
    if (!this.#able || !this.name || same(this.trays.told, this.base.trays)) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.sync(), REST);
  }

  #ask() {
    this.field.value = this.name;
    this.form.hidden = false;
    this.line.hidden = true;
    this.field.select();
  }

  async #named(event) {
    event.preventDefault();
    const name = this.field.value.trim();
    this.form.hidden = true;
    this.line.hidden = false;
    if (name !== this.name) {
      this.name = name;
      write(NAME, name);
      this.#know({ revision: 0, trays: [] });
    }
    this.#show();
    this.change.focus();
    await this.sync();
    announce(this.text.textContent);
  }

  #show(wrong = "") {
    this.text.textContent = wrong || (this.name ? `Kept on the server for ${this.name}.` : "Kept in this browser alone.");
    this.change.textContent = this.name ? "Change" : "Keep on the server";
  }
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const itemKey = (item) => momentKey({ id: item.id, ...(item.found ?? item) });

/** Trays with all that was changed here and there since both were `base`; of what both changed, ours. */
export function joined(base, ours, theirs) {
  return both(base, ours, theirs, (tray) => tray.key, (was, mine, other) => ({
    key: mine.key,
    name: mine.name === was?.name ? other.name : mine.name,
    items: both(was?.items ?? [], mine.items, other.items, itemKey, (before, own, kept) => (before && same(before, own) ? kept : own)),
  }));
}

// What is in a list of things with keys, in an order: gone is what either side took out and the other did not change.
function both(base, ours, theirs, keyOf, mix) {
  const [was, own, kept] = [base, ours, theirs].map((list) => new Map(list.map((one) => [keyOf(one), one])));
  const stays = (key) => {
    if (own.has(key) && kept.has(key)) return true;
    const [left] = own.has(key) ? [own.get(key)] : [kept.get(key)];
    return !was.has(key) || !same(was.get(key), left);
  };
  const moved = !same(order(own, was, kept), order(was, own, kept));
  const [first, then] = moved ? [own, kept] : [kept, own];
  const keys = [...first.keys(), ...[...then.keys()].filter((key) => !first.has(key))].filter(stays);
  return keys.map((key) => (own.has(key) && kept.has(key) ? mix(was.get(key), own.get(key), kept.get(key)) : (own.get(key) ?? kept.get(key))));
}

const order = (one, ...others) => [...one.keys()].filter((key) => others.every((other) => other.has(key)));

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing asks again next time.
  }
}
