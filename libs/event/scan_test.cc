#include "libs/event/scan.h"

#include <catch2/catch.hpp>

#include <random>
#include <string>

#include "libs/event/json_index.h"

using namespace millrace::event;

namespace {

/// SkipValue on a bracket or brace, one byte at a time.
const char* SkipSlowly(const char* at, const char* end, int* depth) {
  int level = 0, deepest = 0;
  bool in_string = false;
  for (; at != end; ++at) {
    if (in_string) {
      if (*at == '"') in_string = false;
      if (*at == '\\' && ++at == end) return nullptr;
    } else if (*at == '"') {
      in_string = true;
    } else if (*at == '{' || *at == '[') {
      deepest = std::max(deepest, ++level);
    } else if ((*at == '}' || *at == ']') && --level == 0) {
      *depth = std::max(*depth, deepest);
      return at + 1;
    }
  }
  return nullptr;
}

constexpr JsonIndex::Instructions kInstructions[] = {JsonIndex::Instructions::kPlain,
                                                     JsonIndex::Instructions::kAvx2,
                                                     JsonIndex::Instructions::kAvx512};

}  // namespace

TEST_CASE("nested values end where they end, wherever their quotes and backslashes stand",
          "[scan]") {
  std::mt19937 random(20'261'126);  // NOLINT: the same every time
  JsonIndex index;
  int ended = 0;
  for (int round = 0; round < 5'000; ++round) {
    // Backslashes in strings only, as in JSON: outside of them they escape nothing.
    std::string text = round % 2 == 0 ? "{" : "[";
    bool in_string = false;
    for (size_t left = random() % 400; left > 0; --left) {
      // In two steps: GCC 12 with UBSan miscompiles the index of such a choice.
      const char* const choice = in_string ? "\\\\\\\"\"{}[]xy,:" : "{}[]\"xy, :{[";
      const char c = choice[random() % 12];
      text += c;
      if (in_string && c == '\\')
        text += "\\\"n{"[random() % 4];
      else if (c == '"')
        in_string = !in_string;
    }
    const std::string exact = text;  // what lies behind must not be looked at
    const char* const end = exact.data() + exact.size();
    int depth = 1, wanted_depth = 1;
    const char* const got = scan::SkipValue(exact.data(), end, &depth);
    const char* const wanted = SkipSlowly(exact.data(), end, &wanted_depth);
    INFO("round " << round << " " << text);
    REQUIRE(got == wanted);
    REQUIRE(depth == wanted_depth);
    for (const auto instructions : kInstructions) {
      if (!JsonIndex::Has(instructions)) continue;
      index.Build(exact, instructions);
      REQUIRE(index.has_backslashes() == (exact.find('\\') != exact.npos));
      REQUIRE(index.SkipValue(exact.data()) == wanted);
      for (size_t at = exact.find('"'); at != exact.npos; at = exact.find('"', at)) {
        const char* const after = scan::SkipString(exact.data() + at, end);
        REQUIRE(index.SkipString(exact.data() + at) == after);
        if (after == nullptr) break;
        at = static_cast<size_t>(after - exact.data());
      }
    }
    ended += wanted != nullptr ? 1 : 0;
  }
  CHECK(ended > 1'000);
}

TEST_CASE("a nested value that does not end is none", "[scan]") {
  for (const std::string text : {"{", "[\"", "{\"a\\", "{\"a\\\"}", "[[]"}) {
    CAPTURE(text);
    CHECK(scan::SkipValue(text.data(), text.data() + text.size()) == nullptr);
  }
}
