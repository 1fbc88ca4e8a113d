export function tidy(text) {
  return typeof text === 'string' ? text.trim().replace(/\s+/g, ' ') : text;
}

export function titleCase(text) {
  return tidy(text).toLowerCase().replace(/(^| )\S/g, (c) => c.toUpperCase());
}
