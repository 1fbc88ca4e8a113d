// The event goes out as the bytes it came in; it is parsed only when a GET or one of its routing keys
// (header, appendPath, fullPath) asks for it. A routing key counts when a transformation set it; what
// the sender put there is data.
export const needs_event = false;

const routingKeys = ['header', 'appendPath', 'fullPath'];
let fixed; // what follows from the configuration alone

function prepare(config) {
  const method = config.webhookMethod;
  const bodyless = method === 'GET' || method === 'DELETE';
  const url = config.webhookUrl.trim();
  const headers = bodyless ? {} : {'content-type': 'application/json'};
  const secret = {};
  for (const {from, to} of config.headers ?? []) {
    const name = from.trim().toLowerCase();
    if (name === 'content-type') headers[name] = to;
    else if (name) secret[name] = to;
  }
  const request = {method, url, headers};
  if (Object.keys(secret).length > 0) {
    request.credentials = {origins: [url, ...(config.allowedOrigins ?? [])], headers: secret};
  }
  return {request, bodyless};
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

// The end of the path never becomes part of the host.
function append(url, path) {
  const hostOnly = /^[a-z]+:\/\/[^/?#]*$/i.test(url);
  return hostOnly && !/^[/?#]/.test(path) ? `${url}/${path}` : url + path;
}

// The request as the routing keys want it.
function route(request, {header, appendPath, fullPath}) {
  const routed = {...request};
  if (fullPath) routed.url = String(fullPath);
  if (appendPath) routed.url = append(routed.url, String(appendPath));
  if (header !== null && typeof header === 'object') {
    routed.headers = {...request.headers};
    for (const name of Object.keys(header)) routed.headers[name.toLowerCase()] = asText(header[name]);
  }
  return routed;
}

export function map(_event, config, context) {
  fixed ??= prepare(config);
  const {request, bodyless} = fixed;
  const changed = routingKeys.filter((key) => context.changed(key));
  if (changed.length === 0) {
    return bodyless ? {...request, query: parameters(context.event)} : {...request, body: context.raw};
  }

  const body = {...context.event};
  const routing = {};
  for (const key of changed) {
    routing[key] = body[key];
    delete body[key];
  }
  const routed = route(request, routing);
  return bodyless ? {...routed, query: parameters(body)} : {...routed, json: body};
}
