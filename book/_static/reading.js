// What style sheets cannot do: boxes that scroll can be reached by keyboard; print is in light colours, with what a reader
// can unfold (hints, solutions) open. Code stays folded.
(() => {
  const boxes = ".figure-box, .pst-scrollable-table-container, div.math";

  function tabStops() {
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  const root = document.documentElement;
  let theme = null, opened = [];
  window.addEventListener("beforeprint", () => {
    theme ??= root.dataset.theme;
    root.dataset.theme = "light";
    opened.push(...document.querySelectorAll("details.sd-dropdown:not([open])"));
    for (const box of opened) box.open = true;
  });
  window.addEventListener("afterprint", () => {
    root.dataset.theme = theme ?? root.dataset.theme;
    for (const box of opened) box.open = false;
    [theme, opened] = [null, []];
  });
  window.addEventListener("resize", tabStops);
  window.addEventListener("load", tabStops);
})();
