// The links in a text: web addresses that begin with http://, https:// or www., and mail addresses.
//
// The library linkifyjs (vendor/linkify.js) finds them. This file makes the elements, from DOM nodes only: text never
// becomes markup.

import { find } from "./vendor/linkify.js";

const WEB = /^(https?:\/\/|www\.)/i;
const SAFE = ["http:", "https:", "mailto:"]; // the only protocols that a link may have

// Returns the text as a fragment in which each address is a link.
export function linked(text) {
  const fragment = document.createDocumentFragment();
  let done = 0; // the text is in the fragment up to here
  for (const found of find(text, { defaultProtocol: "https" })) {
    const link = linkFor(found);
    if (!link) continue;
    fragment.append(text.slice(done, found.start), link);
    done = found.end;
  }
  fragment.append(text.slice(done));
  return fragment;
}

// The library also finds names such as README.md and main.rs, which are rarely meant as addresses.
function linkFor({ type, value, href }) {
  if (type !== "email" && !WEB.test(value)) return undefined;
  const link = document.createElement("a");
  link.href = href;
  if (!SAFE.includes(link.protocol)) return undefined;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  link.tabIndex = -1; // keyboard.js makes it a tab stop while the focus is in its message
  link.textContent = value;
  return link;
}
