/** Kinds of files. */

const FILMS = /\.(mp4|m4v|mov|webm|mkv|avi|ogv|mpe?g)$/i;
const TABLES = /\.(csv|csv\.gz|txt)$/i;

/**
 * Return the kind of a file; its name decides where the browser knows no type.
 * @param {File} file
 * @returns {"photo" | "film" | "data"}
 */
export function kindOf({ name, type }) {
  if (TABLES.test(name) || type === "text/csv") return "data";
  return type.startsWith("video/") || FILMS.test(name) ? "film" : "photo";
}
