#include "services/millrace/cli/table.h"

#include <catch2/catch.hpp>

namespace millrace::cli {

TEST_CASE("FormatTable aligns text left and numbers right", "[cli]") {
  CHECK(FormatTable({{"NAME", "COUNT"}, {"web", "7"}, {"Büro", "12345678"}}) ==
        "NAME     COUNT\n"
        "web          7\n"
        "Büro  12345678\n");
}

TEST_CASE("FormatTable keeps control characters from the terminal", "[cli]") {
  CHECK(FormatTable({{"NAME"}, {"a\x1b[2Jb\nc"}}) == "NAME\na [2Jb c\n");
}

TEST_CASE("FormatTable with the heading only", "[cli]") {
  CHECK(FormatTable({{"A", "B"}}) == "A  B\n");
}

}  // namespace millrace::cli
