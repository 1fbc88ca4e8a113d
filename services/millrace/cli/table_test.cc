#include "services/millrace/cli/table.h"

#include <catch2/catch.hpp>

namespace millrace::cli {

TEST_CASE("columns line up, numbers to the right", "[cli]") {
  CHECK(FormatTable({{"name", "count"}, {"café", "7"}, {"x", "1200"}}) ==
        "name  count\n"
        "café      7\n"
        "x      1200\n");
  CHECK(FormatTable({}).empty());
  CHECK(FormatTable({{"only", "heading"}}) == "only  heading\n");
}

}  // namespace millrace::cli
