// The server, as films are brought into its library and out of it.

import { ask, json, query } from "./api.js";

/** What lies in a folder that films may be taken from; without one, which folders these are. */
export function folders(path) {
  return json(`api/folders?${query({ path })}`);
}

/** Has the films at these paths, and below, taken in; what is done and waits to be done now. */
export function addFilms(paths) {
  return json("api/intake", { method: "POST", body: { paths } });
}

/** Sees whether a film would be taken into a folder, before it is sent. */
export function wouldBeTaken(folder, name, size) {
  return ask(`api/upload?${new URLSearchParams({ folder, name, size: String(size) })}`);
}

/** Has films that failed tried again, and those that have changed taken in anew. */
export function lookAgain() {
  return json("api/intake/again", { method: "POST" });
}

/** Lets a wish be. */
export function cancelIntake(number) {
  return json("api/intake/cancel", { method: "POST", body: { number } });
}

/** Takes films out of the library; their files stay. */
export function removeFilms(ids) {
  return json("api/remove", { method: "POST", body: { ids } });
}

/** The films that were taken out and can be brought back. */
export function removedFilms() {
  return json("api/removed");
}

/** Brings films back; they have other ids then. */
export function restoreFilms(ids) {
  return json("api/restore", { method: "POST", body: { ids } });
}
