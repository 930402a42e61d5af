// Folders without what all of them begin with.

let common = [];

/** Takes all folders of the library, so that `shortFolder` knows what to leave out. */
export function learnFolders(folders) {
  const parts = folders.map((folder) => folder.split("/"));
  const first = parts[0] ?? [];
  const differs = first.findIndex((part, index) => parts.some((own) => own[index] !== part));
  common = first.slice(0, differs < 0 ? -1 : differs);
}

/** A folder, or a file in one, as it is shown: "evening" for "/srv/films/evening", if all are in "/srv/films". */
export function shortFolder(folder) {
  const parts = folder.split("/");
  return common.every((part, index) => parts[index] === part)
    ? parts.slice(common.length).join("/") || parts.at(-1)
    : folder;
}
