#include "services/millrace/cli/line_diff.h"

#include <catch2/catch.hpp>

namespace millrace::cli {

TEST_CASE("a diff shows what changed and a little around it", "[cli]") {
  CHECK(LineDiff("a\nb\n", "a\nb\n").empty());
  CHECK(LineDiff("a\nb\nc\n", "a\nB\nc\n") == "  a\n- b\n+ B\n  c\n");
  CHECK(LineDiff("", "a\n") == "+ a\n");
  CHECK(LineDiff("a\n", "") == "- a\n");
  CHECK(LineDiff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\nnine\n") ==
        "  7\n  8\n- 9\n+ nine\n");
  CHECK(LineDiff("one\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\n5\n6\n7\neight\n") ==
        "- one\n+ 1\n  2\n  3\n  ...\n  6\n  7\n- 8\n+ eight\n");
}

}  // namespace millrace::cli
