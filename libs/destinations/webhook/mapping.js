// The event goes out as the bytes it came in; it is parsed only when a GET or one of its own routing
// keys (header, appendPath, fullPath) asks for it.
export const needs_event = false;

const routingKeys = ['header', 'appendPath', 'fullPath'];
let fixed; // what follows from the configuration alone

function prepare(config) {
  const method = config.webhookMethod || 'POST';
  const bodyless = method === 'GET' || method === 'DELETE';
  const headers = bodyless ? {} : {'content-type': 'application/json'};
  for (const {from, to} of config.headers || []) {
    if (from) headers[String(from).trim().toLowerCase()] = String(to ?? '');
  }
  return {method, bodyless, headers, url: String(config.webhookUrl).trim()};
}

function asText(value) {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function flatten(value, path, into) {
  if (Array.isArray(value)) {
    value.forEach((item, i) => flatten(item, `${path}[${i}]`, into));
  } else if (value !== null && typeof value === 'object') {
    for (const key of Object.keys(value)) flatten(value[key], path ? `${path}.${key}` : key, into);
  } else if (value !== null && value !== undefined) {
    into[path] = value;
  }
  return into;
}

function parameters(event) {
  const own = event.type === 'identify' ? event.traits ?? event.context?.traits : event.properties ?? event.traits;
  return flatten(own ?? {}, '', {});
}

export function map(_event, config, context) {
  fixed ??= prepare(config);
  const {method, bodyless} = fixed;
  let {url, headers} = fixed;
  if (!bodyless && !context.mentions(...routingKeys)) return {method, url, headers, body: context.raw};

  const event = context.event;
  const {header, appendPath, fullPath, ...body} = event;
  if (fullPath) url = String(fullPath);
  if (appendPath) url += String(appendPath);
  if (header !== null && typeof header === 'object') {
    headers = {...headers};
    for (const name of Object.keys(header)) headers[name] = asText(header[name]);
  }
  if (bodyless) return {method, url, headers, query: parameters(event)};
  const plain = routingKeys.every((key) => !Object.hasOwn(event, key));
  return plain ? {method, url, headers, body: context.raw} : {method, url, headers, json: body};
}
