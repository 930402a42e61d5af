// The login view: shown when the server wants its token.

import { login } from "./api.js";
import { element } from "./dom.js";

/** Asks for the token; calls `onDone` when the server has taken it. */
export class LoginView {
  /** @param {HTMLElement} root  @param {function(): void} onDone */
  constructor(root, onDone) {
    this.root = root;
    this.onDone = onDone;
    this.token = element("input", {
      id: "token",
      type: "password",
      autocomplete: "current-password",
      required: true,
      "aria-describedby": "token-why",
    });
    this.error = element("p", { class: "wrong", role: "alert" });
    this.button = element("button", { type: "submit", class: "strong" }, "Open");
    const form = element("form", { class: "login", on: { submit: (event) => this.#submit(event) } });
    form.append(
      element("h2", {}, "This library is locked"),
      element("p", { id: "token-why" }, "Enter the token that “gmmformer serve” was started with."),
      element("label", { for: "token" }, "Token"),
      element("div", { class: "line" }, this.token, this.button),
      this.error,
    );
    root.append(form);
  }

  show() {
    document.title = "Locked – gmmformer";
    this.token.focus();
  }

  async #submit(event) {
    event.preventDefault();
    this.button.disabled = true;
    this.error.textContent = "";
    try {
      await login(this.token.value);
      this.token.value = "";
      this.onDone();
    } catch (error) {
      this.error.textContent = error.status === 401 || error.status === 403 ? "That is not the token." : error.message;
      this.token.select();
    } finally {
      this.button.disabled = false;
    }
  }
}
