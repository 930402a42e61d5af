// One tab stop for many: left and right move among what can be done with a film, up leads to its strip.

import { within } from "./dom.js";

/** Of what is in an element, one thing can be reached by Tab, and the others from there by arrows. */
export class Roving {
  #current = null;

  /**
   * @param {HTMLElement} root
   * @param {string} selector of what is in it
   * @param {string} first of what can be reached by Tab before anybody was there
   */
  constructor(root, selector, first) {
    this.root = root;
    this.selector = selector;
    this.first = first;
    new MutationObserver(() => this.#update()).observe(root, {
      childList: true,
      subtree: true,
      attributeFilter: ["hidden", "disabled"],
    });
    root.addEventListener("focusin", (event) => this.#focused(within(event)));
    root.addEventListener("keydown", (event) => this.#key(event), { capture: true });
    this.#update();
  }

  get #items() {
    const all = /** @type {HTMLButtonElement[]} */ ([...this.root.querySelectorAll(this.selector)]);
    return all.filter((item) => !item.disabled && !item.closest("[hidden]"));
  }

  #focused(target) {
    if (!target.matches(this.selector)) return;
    this.#current = target;
    this.#update();
  }

  #update() {
    const items = this.#items;
    if (!items.includes(this.#current)) this.#current = items.find((item) => item.matches(this.first)) ?? items[0];
    for (const item of items) item.tabIndex = item === this.#current ? 0 : -1;
    for (const strip of this.#strips) strip.tabIndex = -1;
  }

  get #strips() {
    return /** @type {HTMLElement[]} */ ([...this.root.querySelectorAll(".card .strip")]);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !this.#moved(event)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  #moved({ key, target }) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (target.matches(".card .strip")) {
      if (key === "ArrowUp") return reached(this.root.querySelector(".toggle"));
      return key === "ArrowDown" && reached(this.#current);
    }
    const items = this.#items;
    if (!items.includes(target)) return false;
    if (key === "ArrowUp" && target.matches("button")) return this.#strips.some(reached);
    for (let place = items.indexOf(target) + by; by && items[place]; place += by) if (reached(items[place])) return true;
    return Boolean(by);
  }
}

/** Whether something took the focus: what is not drawn does not. */
function reached(item) {
  item?.focus();
  return Boolean(item) && document.activeElement === item;
}
