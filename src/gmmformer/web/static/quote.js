// Words of a film that a sentence was found in, as they stand there.

import { element } from "./dom.js";

const KINDS = { said: "said", written: "on screen" };

/**
 * The words that a moment was found for, those that were asked for marked; null where it was found for none.
 * @param {{source: string, text?: string, marks?: number[][], language?: string, track?: string}[]} [why] as an answer has it
 */
export function quoteOf(why = []) {
  const found = why.find(({ text }) => text);
  if (!found) return null;
  const letters = [...found.text]; // marks count characters, not halves of them
  const piece = (from, to) => letters.slice(from, to).join("");
  const parts = [];
  let at = 0;
  for (const [from, to] of found.marks) {
    parts.push(piece(at, from), element("mark", {}, piece(from, to)));
    at = to;
  }
  const kind = element("small", {}, KINDS[found.source] ?? found.source);
  return element("p", { class: "quote", lang: found.language || null, title: found.track }, kind, ...parts, piece(at));
}
