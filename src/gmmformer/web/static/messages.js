// What the page says besides what it shows: short messages to be seen, announcements to be heard, files to be saved.

import { isAborted, isPassing } from "./api.js";
import { Again } from "./connection.js";
import { element, iconButton } from "./dom.js";

const SECONDS = 7;
/** Milliseconds of rest before something is announced, so that typing is not talked over. */
const REST = 500;
let timer = 0;
const jobs = new WeakMap(); // what buttons are at, by button

/** Says something to those who listen, without showing it. */
export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    document.getElementById("announcer").textContent = text;
  }, REST);
}

/**
 * Shows a message; it goes by itself, errors stay until they are closed.
 * @param {string} text
 * @param {{error?: boolean, action?: {text: string, run: function(): void}, onClose?: function(): void}} more `action` is a
 *     button beside it, `onClose` is told when somebody closes it
 */
export function tell(text, { error = false, action = null, onClose = () => {} } = {}) {
  const remove = () => message.remove();
  const close = () => {
    remove();
    onClose();
  };
  const message = element(
    "p",
    { class: error ? "message error" : "message" },
    element("span", {}, text),
    action &&
      element(
        "button",
        {
          type: "button",
          class: "quiet",
          on: {
            click: () => {
              remove();
              action.run();
            },
          },
        },
        action.text,
      ),
    iconButton("close", "Close the message", close),
  );
  const place = document.getElementById("messages");
  place.append(message);
  while (place.children.length > 3) place.firstChild.remove();
  if (!error) setTimeout(remove, SECONDS * 1000);
  return message;
}

/** Lets the browser save a file. */
export function save({ name, content }) {
  const address = URL.createObjectURL(content);
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Says everything inside an element from now on: what lies outside an open dialog is neither clicked nor read out. */
export function speakFrom(place) {
  place.append(document.getElementById("messages"), document.getElementById("announcer"));
}

/**
 * Runs what a button asks for; the button shows that it works, and errors are told. What got no answer is tried again, at once
 * if the button is pressed once more, until its message is closed.
 * @param {HTMLElement} button
 * @param {function(): Promise<void>} job
 */
export async function working(button, job) {
  if (jobs.has(button)) return jobs.get(button).now();
  let message = null;
  const end = () => {
    again.stop();
    jobs.delete(button);
    button.removeAttribute("aria-busy");
    message?.remove();
  };
  const run = async () => {
    try {
      await job();
      end();
    } catch (error) {
      if (jobs.get(button) !== again) return; // closed in the meantime
      if (isPassing(error)) wait(error);
      else {
        end();
        if (!isAborted(error)) tell(error.message, { error: true });
      }
    }
  };
  const wait = (error) => {
    again.wait(error);
    if (message?.isConnected) return;
    const action = { text: "Try now", run: () => again.now() };
    message = tell(`${error.message} It is tried again as soon as it can be.`, { error: true, action, onClose: end });
  };
  const again = new Again(run);
  jobs.set(button, again);
  button.setAttribute("aria-busy", "true");
  await run();
}
