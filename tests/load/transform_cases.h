#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <vector>

namespace millrace::load {

/// Something that transformations do with events of 1 KB (event_1k.h).
struct TransformCase {
  std::string name;
  bool rules = false;      // YAML of rules; else JavaScript
  std::string code;        // "#" stands for the transformation's number
  double dropped = 0;      // the share of the events
  bool by_chance = false;  // which ones those are differs from the twin's
  size_t transformations = 1;
  size_t batch = 100;  // events of one call
};

/// What a rule does, and the same in JavaScript: the cases rule-NAME and script-NAME.
struct Twins {
  std::string name;
  std::string rules;
  std::string script;
  double dropped = 0;
  bool by_chance = false;
};

// What a user without a library writes to hash in JavaScript.
inline constexpr const char* kSha256Script = R"(
const constants = [], start = [];
for (let n = 2; constants.length < 64; n++) {
  let prime = true;
  for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
  if (!prime) continue;
  const root = n ** (1 / 3), square = n ** 0.5;
  constants.push(((root - Math.floor(root)) * 2 ** 32) | 0);
  if (start.length < 8) start.push(((square - Math.floor(square)) * 2 ** 32) | 0);
}
const turn = (x, n) => (x >>> n) | (x << (32 - n));
const words = new Int32Array(64);
function sha256(text) {
  const bytes = [];
  for (const c of unescape(encodeURIComponent(text))) bytes.push(c.charCodeAt(0));
  const bits = bytes.length * 8;
  bytes.push(0x80);
  while (bytes.length % 64 !== 56) bytes.push(0);
  bytes.push(0, 0, 0, 0, bits >>> 24, (bits >>> 16) & 255, (bits >>> 8) & 255, bits & 255);
  const sum = start.slice();
  for (let at = 0; at < bytes.length; at += 64) {
    for (let i = 0; i < 16; i++) {
      const b = at + i * 4;
      words[i] = (bytes[b] << 24) | (bytes[b + 1] << 16) | (bytes[b + 2] << 8) | bytes[b + 3];
    }
    for (let i = 16; i < 64; i++) {
      const x = words[i - 15], y = words[i - 2];
      words[i] = words[i - 16] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + words[i - 7] +
        (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = sum;
    for (let i = 0; i < 64; i++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) +
        constants[i] + words[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => { sum[i] = (sum[i] + word) | 0; });
  }
  return sum.map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
}
export function transformEvent(event) {
  const traits = event.context?.traits;
  if (traits?.email !== undefined) traits.email = sha256('pepper' + traits.email);
  return event;
})";

inline std::vector<Twins> AllTwins() {
  return {
      {"drop", "rules: [{drop: event = Heartbeat}]",
       "export const transformEvent = (event) => event.event === 'Heartbeat' ? undefined : event;",
       0.5},
      {"sample", "rules: [{sample: 50}]",
       R"(export function transformEvent(event) {
  const user = event.userId ?? event.anonymousId ?? event.messageId;
  let hash = 2166136261;
  for (let i = 0; i < user.length; i++) hash = Math.imul(hash ^ user.charCodeAt(i), 16777619);
  return (hash >>> 0) % 100 < 50 ? event : undefined;
})",
       0.5, true},
      {"rename", "rules: [{rename: {properties.total: properties.revenue}}]",
       R"(export function transformEvent(event) {
  const properties = event.properties;
  if (properties && 'total' in properties) {
    properties.revenue = properties.total;
    delete properties.total;
  }
  return event;
})"},
      {"keep", "rules: [{keep: [properties.orderId, properties.total, properties.currency]}]",
       R"(export function transformEvent(event) {
  if (event.properties) {
    const { orderId, total, currency } = event.properties;
    event.properties = { orderId, total, currency };
  }
  return event;
})"},
      {"remove", "rules: [{remove: [context.traits.email, properties.coupon]}]",
       R"(export function transformEvent(event) {
  delete event.context?.traits?.email;
  delete event.properties?.coupon;
  return event;
})"},
      {"hash", "rules: [{hash: {fields: [context.traits.email], salt: pepper}}]", kSha256Script},
      {"mask", "rules: [{mask: {fields: context.traits.email, keep_first: 1, email: true}}]",
       R"(export function transformEvent(event) {
  const traits = event.context?.traits;
  if (traits?.email) {
    const at = traits.email.lastIndexOf('@');
    traits.email = traits.email[0] + '*'.repeat(at - 1) + traits.email.slice(at);
  }
  return event;
})"},
      {"cast", "rules: [{cast: {properties.total: string}}]",
       R"(export function transformEvent(event) {
  if (event.properties?.total !== undefined) event.properties.total = String(event.properties.total);
  return event;
})"},
  };
}

inline std::vector<TransformCase> TransformCases() {
  const std::string add =
      "export function transformEvent(event) { event.properties.added# = 'value #'; return event; "
      "}";
  std::vector<TransformCase> cases = {
      {.name = "transform-add-field", .code = add},
      {.name = "transform-200", .code = add, .transformations = 200, .batch = 20},
  };
  for (const Twins& twins : AllTwins()) {
    for (const bool rules : {true, false}) {
      cases.push_back({.name = fmt::format("{}-{}", rules ? "rule" : "script", twins.name),
                       .rules = rules,
                       .code = rules ? twins.rules : twins.script,
                       .dropped = twins.dropped,
                       .by_chance = twins.by_chance});
    }
  }
  return cases;
}

}  // namespace millrace::load
