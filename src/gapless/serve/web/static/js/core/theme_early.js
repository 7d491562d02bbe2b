// A classic script of the head: sets the chosen theme before the first paint, so that nothing flashes.
// A browser that refuses storage gets the theme of the operating system.
(() => {
  try {
    const chosen = localStorage.getItem("gapless.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch (refused) {
    if (!(refused instanceof DOMException)) throw refused;
  }
})();
