// Folders without what all of them begin with.

let common = [];
let all = [];

/** Takes all folders of the library, so that `shortFolder` knows what to leave out; whether they are others. */
export function learnFolders(folders) {
  if (String(folders) === String(all)) return false;
  const parts = folders.map((folder) => folder.split("/"));
  const first = parts[0] ?? [];
  const differs = first.findIndex((part, index) => parts.some((own) => own[index] !== part));
  common = first.slice(0, differs < 0 ? -1 : differs);
  all = folders;
  return true;
}

/** All folders to choose from, sorted: those that films lie in and those above, up to where they part. */
export function folderChoices() {
  const above = (folder) => {
    const parts = folder.split("/");
    return parts.slice(common.length).map((_, index) => parts.slice(0, common.length + index + 1).join("/"));
  };
  return [...new Set(all.flatMap(above))].sort();
}

/** A folder, or a file in one, as it is shown: "evening" for "/srv/films/evening", if all are in "/srv/films". */
export function shortFolder(folder) {
  const parts = folder.split("/");
  return common.every((part, index) => parts[index] === part)
    ? parts.slice(common.length).join("/") || parts.at(-1)
    : folder;
}
