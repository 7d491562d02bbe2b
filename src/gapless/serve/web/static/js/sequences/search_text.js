// What is typed into the search box is either words to look for anywhere or a line of the query language.

const QUOTED = /"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?/g;
const SYMBOL = /[=<>]/;
const WORD = /\S\s+(?:match|in|between|outside|exists|is\s+nan|is_nan)(?=\s|\(|\[|$)/;

/**
 * Return how a text is used: "none" when it is blank, "query" with a comparison that nobody types by chance, "perhaps"
 * with a comparison that is an English word too ("in", "between"), else "text". Quoted parts are not looked into.
 */
export function useOf(text) {
  if (text.trim() === "") return "none";
  const bare = text.replace(QUOTED, '""');
  if (SYMBOL.test(bare)) return "query";
  return WORD.test(bare) ? "perhaps" : "text";
}

/** Return the parameters that ask the server for a text; ``use`` is "query" or "text". */
export function parametersOf(text, use) {
  return use === "query" ? { query: text.trim() } : { text: text.trim() };
}

/** True for a query that cannot be whole yet: it ends in the middle of a comparison, a text or a bracket. */
export function isUnfinished(text) {
  const bare = text.replace(QUOTED, '""').trim();
  const quotes = text.replace(/\\./g, "").replace(/"[^"]*"|'[^']*'/g, "");
  const depth = (open, close) => bare.split(open).length - bare.split(close).length;
  return (
    /["']/.test(quotes) ||
    /(?:[=<>!,([&|~:.]|(?:^|\s)(?:and|or|not|match|in|between|outside|without|is))$/i.test(bare) ||
    depth("(", ")") > 0 ||
    depth("[", "]") > 0
  );
}
