// The form that asks for a token, and the form that sends a test mail.

import { byId, find } from "./dom.js";

/** The form that asks for a token; the token is kept as long as the browser's tab. */
export class Login {
  /** @param {{onToken: (token: string) => void}} options */
  constructor({ onToken }) {
    this.form = byId("login", HTMLFormElement);
    this.input = find(this.form, "input", HTMLInputElement);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const token = this.input.value;
      sessionStorage.setItem("token", token);
      this.form.reset();
      this.close();
      onToken(token);
    });
  }

  static token() {
    return sessionStorage.getItem("token");
  }

  /**
   * Ask for a token, unless the form is open already.
   * @param {string} why
   */
  open(why) {
    if (!this.form.hidden) return;
    this.form.hidden = false;
    byId("login-why").textContent = why;
    this.input.focus();
  }

  close() {
    this.form.hidden = true;
  }
}

/**
 * Call `send` with the address that is entered for a test mail.
 * @param {(to: string) => void} send
 */
export function onTestMail(send) {
  const form = byId("first", HTMLFormElement);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(find(form, "input", HTMLInputElement).value);
  });
}
