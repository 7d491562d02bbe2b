// A file that the page made itself, saved as any other download.

const KEPT_MS = 10_000;

/** Save a blob under a name. */
export function saveFile(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}
