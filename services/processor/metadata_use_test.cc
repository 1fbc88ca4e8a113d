#include "services/processor/metadata_use.h"

#include <catch2/catch.hpp>

#include <string>

namespace millrace::processor {
namespace {

TEST_CASE("It is seen from the code whether it may ask for metadata", "[transform]") {
  struct Case {
    const char* code;
    bool may;
  };
  const auto c = GENERATE(values<Case>({
      {"export function transformEvent(event) { return event; }", false},
      {"export function transformEvent(event, metadata) { return event; }", false},
      {"export async function transformEvent(event, metadata) { event.a = 1; return event; }",
       false},
      {"export const transformEvent = (event, m) => event;", false},
      {"export const transformEvent = event => event;", false},
      {"export const transformEvent = async function named(event) { return event; }", false},
      {"export function transformBatch(events, metadata) { return events; }", false},
      {"export function transformEvent(event, metadata) { event.id = "
       "metadata(event).destinationId; }",
       true},
      {"export function transformEvent(event, m) { return { ...event, ...m(event) }; }", true},
      {"export function transformEvent(event, { a }) { return event; }", true},
      {"export function transformEvent(...all) { return all[1](all[0]); }", true},
      {"export function transformEvent(event) { return arguments[1](event); }", true},
      {"export function transformEvent(event, m = 1) { return event; }", true},
      {"function f(event, metadata) { return metadata(event); }\nexport { f as transformEvent };",
       true},
      {"function f(e, m) { return m(e); }\nfunction transformEvent(e) {}\nexport { f as "
       "transformEvent };",
       true},
      {"export function transformEvent(event, m) { return \\u006d(event); }", true},
      {"export default 1;", true},
      {"export function transformEvent(event) { event.to = metadata(event).destinationId; }", true},
      {"export function transformEvent(event) { return globalThis['meta' + 'data'](event); }",
       true},
  }));
  CAPTURE(c.code);
  CHECK(MayReadMetadata(c.code) == c.may);
}

TEST_CASE("A library finds metadata as a global", "[transform]") {
  CHECK(LibraryMayReadMetadata("export const f = (event) => metadata(event).destinationId;"));
  CHECK(!LibraryMayReadMetadata("export const f = (event) => event.context;"));
}

}  // namespace
}  // namespace millrace::processor
