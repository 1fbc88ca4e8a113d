#include "libs/base/text.h"

#include <catch2/catch.hpp>

namespace millrace {

TEST_CASE("ClipText cuts between characters", "[text]") {
  CHECK(ClipText("abc", 3) == "abc");
  CHECK(ClipText("abcd", 3) == "abc");
  CHECK(ClipText("ab\u00e9", 3) == "ab");
  CHECK(ClipText("\u00e9", 1) == "");
}

}  // namespace millrace
