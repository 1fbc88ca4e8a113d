#include "libs/base/hash.h"

#include <catch2/catch.hpp>

namespace millrace {

TEST_CASE("hashes agree with published vectors", "[hash]") {
  CHECK(Crc32c("123456789") == 0xe3069283u);
  CHECK(Crc32c("6789", Crc32c("12345")) == 0xe3069283u);
  // org.apache.kafka.common.utils.UtilsTest.testMurmur2, masked to 31 bits as the partitioner does.
  CHECK(Murmur2("21") == (static_cast<uint32_t>(-973932308) & 0x7fffffffu));
  CHECK(Murmur2("foobar") == (static_cast<uint32_t>(-790332482) & 0x7fffffffu));
  CHECK(Murmur2("a-little-bit-long-string") == (static_cast<uint32_t>(-985981536) & 0x7fffffffu));
  CHECK(Md5Hex("abc") == "900150983cd24fb0d6963f7d28e17f72");
  CHECK(Sha256Hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("base64 both ways", "[hash]") {
  for (const std::string text : {"", "a", "ab", "abc", "key:", "\x01\xff\x00z"}) {
    std::string back;
    REQUIRE(DecodeBase64(EncodeBase64(text), &back));
    CHECK(back == text);
  }
  std::string out;
  CHECK(DecodeBase64("YTo", &out));
  CHECK(out == "a:");
  CHECK_FALSE(DecodeBase64("Y", &out));
  CHECK_FALSE(DecodeBase64("Y*==", &out));
}

}  // namespace millrace
