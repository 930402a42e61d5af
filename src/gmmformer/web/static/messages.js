// What the page says besides what it shows: short messages to be seen, announcements to be heard, files to be saved.

import { element, iconButton } from "./dom.js";

const SECONDS = 7;
/** Milliseconds of rest before something is announced, so that typing is not talked over. */
const REST = 500;
let timer = 0;

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
 * @param {{error?: boolean, action?: {text: string, run: function(): void}}} more `action` is a button beside it
 */
export function tell(text, { error = false, action = null } = {}) {
  const remove = () => message.remove();
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
    iconButton("close", "Close the message", remove),
  );
  const place = document.getElementById("messages");
  place.append(message);
  while (place.children.length > 3) place.firstChild.remove();
  if (!error) setTimeout(remove, SECONDS * 1000);
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

/** Runs what a button asks for; the button shows that it works, and errors are told. */
export async function working(button, job) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    await job();
  } catch (error) {
    tell(error.message, { error: true });
  } finally {
    button.removeAttribute("aria-busy");
  }
}
