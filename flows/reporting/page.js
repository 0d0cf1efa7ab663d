// The nearest point's text stands beside the map; without this script a browser shows it as a tooltip.
(() => {
  const plane = document.getElementById("points"), said = document.getElementById("said");
  if (!plane || !said) return;
  const points = [...plane.querySelectorAll("circle")].map((circle) => {
    const title = circle.querySelector("title"), text = title.textContent;
    title.remove();
    return { circle, text };
  });
  let current = null;
  const show = (point) => {
    if (point === current) return;
    if (current) current.circle.classList.remove("on");
    current = point;
    point.circle.classList.add("on");
    said.replaceChildren(...point.text.split("\n").map((line) => {
      const p = document.createElement("p");
      p.dir = "auto";
      p.textContent = line;
      return p;
    }));
  };
  const near = (event, reach) => {
    let best = null, least = reach * reach;
    for (const point of points) {
      const box = point.circle.getBoundingClientRect();
      const x = box.left + box.width / 2 - event.clientX, y = box.top + box.height / 2 - event.clientY;
      if (x * x + y * y < least) [best, least] = [point, x * x + y * y];
    }
    if (best) show(best);
  };
  plane.addEventListener("pointermove", (event) => near(event, 16));
  plane.addEventListener("click", (event) => near(event, 40));
})();
