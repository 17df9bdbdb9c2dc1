// The elements of index.html, by the names they have there. What is done with them is left to the others.

export const $ = (id) => document.getElementById(id);

// A new element from a <template>.
export const clone = (template) => $(template).content.firstElementChild.cloneNode(true);
