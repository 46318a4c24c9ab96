// Two things that style sheets cannot do: boxes that scroll can be reached by keyboard, and print is in light colours.
(() => {
  const boxes = ".figure-box, .pst-scrollable-table-container, div.math";

  function tabStops() {
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  const root = document.documentElement;
  let theme = null;
  window.addEventListener("beforeprint", () => {
    theme ??= root.dataset.theme;
    root.dataset.theme = "light";
  });
  window.addEventListener("afterprint", () => {
    root.dataset.theme = theme ?? root.dataset.theme;
    theme = null;
  });
  window.addEventListener("resize", tabStops);
  window.addEventListener("load", tabStops);
})();
