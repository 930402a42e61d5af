// Frames of films, as images: one that did not come because of the network comes later.

import { isPassing, reasonOf } from "./api.js";
import { Again } from "./connection.js";
import { element } from "./dom.js";

/**
 * An image that is asked for again as long as it may still come.
 * @param {Record<string, any>} properties of the element
 * @param {function(): void} onFail told when it cannot be had
 */
export function frameImage(properties, onFail = () => {}) {
  const image = element("img", { alt: "", decoding: "async", ...properties });
  let doubted = null;
  const look = async () => {
    const address = image.getAttribute("src");
    const wanted = () => image.isConnected && address === image.getAttribute("src") && !image.naturalWidth;
    if (!address || !wanted()) return;
    const reason = await reasonOf(address);
    if (!wanted()) return;
    if (isPassing(reason)) again.wait(reason);
    else if (reason || doubted === address) onFail();
    else image.src = doubted = address;
  };
  const again = new Again(look);
  image.addEventListener("error", look);
  image.addEventListener("load", () => {
    doubted = null;
    again.done();
  });
  return image;
}
