// Keys: / to the box, arrows through the results, Escape closes. Space plays because what has the focus is a button.

/** @import { Card } from "./card.js" */

import { within } from "./dom.js";

const TYPED_INTO = "input, textarea, select, [contenteditable]";

/** Whether an event comes with a key that makes it something else's. */
function modified(event) {
  return event.ctrlKey || event.metaKey || event.altKey;
}

/**
 * The neighbour of an element in a grid that is as wide as it happens to be.
 * @param {HTMLElement[]} all in order
 * @param {number} index
 * @param {string} key one of the arrows, Home, End
 * @returns {number} -1: there is none in this direction
 */
export function neighbour(all, index, key) {
  const top = all[0]?.getBoundingClientRect().top;
  const columns = Math.max(
    1,
    all.findIndex((one) => one.getBoundingClientRect().top > top + 4),
  );
  const wide = all.every((one) => Math.abs(one.getBoundingClientRect().top - top) <= 4) ? all.length : columns;
  const target = {
    ArrowRight: index + 1,
    ArrowLeft: index - 1,
    ArrowDown: index + wide,
    ArrowUp: index - wide,
    Home: 0,
    End: all.length - 1,
  }[key];
  if (target === undefined || target < 0) return -1;
  if (target >= all.length)
    return key === "ArrowDown" && Math.floor(index / wide) < Math.floor((all.length - 1) / wide) ? all.length - 1 : -1;
  return target;
}

/**
 * Listens to the keys of the page.
 * @param {{toBox: function(): void, cards: function(): Card[], escape: function(): boolean, box: HTMLInputElement}} page
 */
export function listenToKeys({ toBox, cards, escape, box }) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || modified(event) || event.isComposing || within(event).closest?.("dialog")) return;
    if (event.key === "Escape") {
      if (escape()) event.preventDefault();
    } else if (event.key === "/" && !within(event).matches(TYPED_INTO)) {
      toBox();
      event.preventDefault();
    } else if (move(event, cards(), box)) {
      event.preventDefault();
    }
  });
}

function move(event, cards, box) {
  if (!cards.length) return false;
  if (event.target === box) {
    if (event.key !== "ArrowDown") return false;
    cards[0].focus();
    return true;
  }
  const index = cards.findIndex((card) => card.element.contains(event.target));
  if (index < 0) {
    if (event.target !== document.body || event.key !== "ArrowDown") return false;
    cards[0].focus();
    return true;
  }
  if (event.key.toLowerCase() === "t" && cards[index].togglePicked) {
    cards[index].togglePicked();
    return true;
  }
  if (event.key.toLowerCase() === "e") {
    cards[index].trim.click();
    return true;
  }
  if (event.target.matches(TYPED_INTO)) return false;
  const next = neighbour(
    cards.map((card) => card.element),
    index,
    event.key,
  );
  if (next >= 0) cards[next].focus();
  else if (event.key === "ArrowUp") box.focus();
  else return false;
  return true;
}
