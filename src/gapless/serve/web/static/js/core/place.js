// The state of a view is in its address: what is shown can be shared, and back and forward work.

/** Return the parameters of the address, name -> value; of a repeated one the first. */
export function read() {
  const found = new Map();
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (!found.has(name)) found.set(name, value);
  }
  return found;
}

/** Return every value of a repeated parameter. */
export function all(name) {
  return new URLSearchParams(location.search).getAll(name);
}

/**
 * Change parameters: null and "" remove one, a list repeats it. ``push`` makes a step that "back" undoes: for
 * what a person chose; scrolling and zooming change the step they are in.
 */
export function write(changes, { push = false } = {}) {
  const params = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    params.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") params.append(name, String(one));
    }
  }
  const text = params.toString();
  const address = `${location.pathname}${text === "" ? "" : `?${text}`}${location.hash}`;
  if (address === `${location.pathname}${location.search}${location.hash}`) return;
  if (push) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

/** Call a function when "back" or "forward" changed the address; returns what ends that. */
export function onReturn(listener) {
  addEventListener("popstate", listener);
  return () => removeEventListener("popstate", listener);
}
