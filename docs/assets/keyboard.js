// What the theme draws while a page loads is named, and whatever scrolls can be reached by keyboard.
const reach = () => {
  document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code").forEach((part) => {
    part.tabIndex = 0
  })
  document.querySelectorAll(".md-code__nav").forEach((part, place) => {
    part.setAttribute("aria-label", `Tools of code ${place + 1}`)
  })
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search")
}
new MutationObserver(reach).observe(document.documentElement, { childList: true, subtree: true })
document.addEventListener("DOMContentLoaded", reach)
