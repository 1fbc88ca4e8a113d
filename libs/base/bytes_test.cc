#include "libs/base/bytes.h"

#include <catch2/catch.hpp>

namespace millrace {

TEST_CASE("a slice outlives the Bytes it was cut from", "[bytes]") {
  Bytes slice;
  {
    const Bytes whole(std::string(100, 'a') + "tail");
    slice = whole.Slice(whole.view().substr(100));
  }
  CHECK(slice.view() == "tail");
}

}  // namespace millrace
