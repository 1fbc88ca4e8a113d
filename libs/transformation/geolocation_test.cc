#include "libs/transformation/geolocation.h"

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <thread>
#include <vector>

namespace millrace::transformation {
namespace {

/// Values in the binary form of MaxMind databases.
namespace data {

std::string Control(int type, size_t size) {
  std::string out;
  const bool extended = type > 7;
  const size_t low = size < 29 ? size : 29;
  out += static_cast<char>((extended ? 0 : type << 5) | static_cast<int>(low));
  if (extended) out += static_cast<char>(type - 7);
  if (size >= 29) out += static_cast<char>(size - 29);
  return out;
}
std::string Text(const std::string& text) {
  return Control(2, text.size()) + text;
}
std::string Integer(int type, uint64_t value, size_t bytes) {
  std::string out = Control(type, bytes);
  for (size_t i = bytes; i > 0; --i) out += static_cast<char>(value >> (8 * (i - 1)));
  return out;
}
std::string Double(double value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return Integer(3, bits, 8);
}
using Entries = std::vector<std::pair<std::string, std::string>>;
std::string Map(const Entries& entries) {
  std::string out = Control(7, entries.size());
  for (const auto& [key, value] : entries) out += Text(key) + value;
  return out;
}
std::string Array(const std::vector<std::string>& values) {
  std::string out = Control(11, values.size());
  for (const std::string& value : values) out += value;
  return out;
}

}  // namespace data

/// Writes databases for IPv4 and IPv6 with 24-bit records.
class Writer {
 public:
  /// `bits`: the network's first bits, of 128 (IPv4 as ::a.b.c.d).
  void Put(const std::array<uint8_t, 16>& network, int bits, const std::string& value) {
    size_t node = 0;
    for (int bit = 0; bit < bits; ++bit) {
      const auto byte = network[static_cast<size_t>(bit / 8)];
      const size_t side = (byte >> (7 - bit % 8)) & 1;
      if (bit + 1 == bits) {
        nodes_[node][side] = -static_cast<long>(data_.size()) - 1;
        data_ += value;
        return;
      }
      if (nodes_[node][side] <= 0) {
        nodes_[node][side] = static_cast<long>(nodes_.size());
        nodes_.push_back({0, 0});
      }
      node = static_cast<size_t>(nodes_[node][side]);
    }
  }
  void PutV4(uint8_t a, uint8_t b, int bits, const std::string& value) {
    std::array<uint8_t, 16> network{};
    network[12] = a;
    network[13] = b;
    Put(network, 96 + bits, value);
  }
  std::string Bytes() const {
    std::string out;
    const auto count = static_cast<long>(nodes_.size());
    for (const auto& node : nodes_) {
      for (const long record : node) {
        const long value = record > 0 ? record : record == 0 ? count : count + 16 - record - 1;
        for (const int shift : {16, 8, 0}) out += static_cast<char>(value >> shift);
      }
    }
    out += std::string(16, '\0') + data_ + "\xab\xcd\xefMaxMind.com";
    return out + data::Map({{"node_count", data::Integer(6, nodes_.size(), 4)},
                            {"record_size", data::Integer(5, 24, 2)},
                            {"ip_version", data::Integer(5, 6, 2)},
                            {"database_type", data::Text("Test")},
                            {"languages", data::Array({data::Text("en")})},
                            {"binary_format_major_version", data::Integer(5, 2, 2)},
                            {"binary_format_minor_version", data::Integer(5, 0, 2)},
                            {"build_epoch", data::Integer(9, 1'700'000'000, 8)},
                            {"description", data::Map({{"en", data::Text("Test")}})}});
  }

 private:
  std::vector<std::array<long, 2>> nodes_{{0, 0}};  // > 0: a node; < 0: data; 0: nothing
  std::string data_;
};

std::string City(const std::string& name, const std::string& country) {
  return data::Map(
      {{"city", data::Map({{"names", data::Map({{"en", data::Text(name)}})}})},
       {"country", data::Map({{"iso_code", data::Text(country)}})},
       {"subdivisions",
        data::Array({data::Map({{"iso_code", data::Text("AR")},
                                {"names", data::Map({{"en", data::Text("A \"Region\"")}})}})})},
       {"postal", data::Map({{"code", data::Text("1234")}})},
       {"location", data::Map({{"latitude", data::Double(-12.5)},
                               {"longitude", data::Double(100.25)},
                               {"time_zone", data::Text("Etc/UTC")}})}});
}

/// A file of the test's own.
class File {
 public:
  File() : path_("/tmp/millrace-geolocation." + std::to_string(getpid()) + ".mmdb") {}
  ~File() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }
  /// In place, as a careless copy would.
  void Write(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }

 private:
  std::string path_;
};

std::string Find(Geolocation& geolocation, const std::string& ip) {
  const auto found = geolocation.Lookup(ip);
  return found.ok() ? *found : std::string(Message(found.status()));
}

TEST_CASE("Geolocation names what a city database knows", "[geolocation]") {
  Writer writer;
  writer.PutV4(1, 2, 16, City("Some City", "AB"));
  writer.PutV4(5, 0, 8,
               data::Map({{"country_code", data::Text("CD")},
                          {"city", data::Text("Flat")},
                          {"latitude", data::Double(1)}}));
  writer.Put({0x20, 0x01, 0x04, 0x70}, 32, City("Six", "EF"));
  const File file;
  file.Write(writer.Bytes());
  const auto geolocation = Geolocation::Open(file.path());
  REQUIRE(geolocation.ok());
  CHECK(
      Find(**geolocation, "1.2.3.4") ==
      R"({"ip":"1.2.3.4","city":"Some City","country":"AB","region":"A \"Region\"","postal":"1234",)"
      R"("location":"-12.5,100.25","timezone":"Etc/UTC"})");
  CHECK(Find(**geolocation, "5.6.7.8") == R"({"ip":"5.6.7.8","city":"Flat","country":"CD"})");
  CHECK(Find(**geolocation, "2001:470::1").find("\"city\":\"Six\"") != std::string::npos);
  CHECK((*geolocation)->Lookup("9.9.9.9").status().code() == StatusCode::kNotFound);
  for (const char* bad : {"", "x", "1.2.3", "1.2.3.4 ", "16909060", "1.2.3.4/8", "::g"}) {
    CAPTURE(bad);
    CHECK((*geolocation)->Lookup(bad).status().code() == StatusCode::kInvalidArgument);
  }
  CHECK((*geolocation)->Lookup(std::string("1.2.3.4\0x", 9)).status().code() ==
        StatusCode::kInvalidArgument);
}

TEST_CASE("Geolocation says which file is none", "[geolocation]") {
  CHECK(Message(Geolocation::Open("/nonexistent.mmdb").status()) ==
        "geolocation file /nonexistent.mmdb: No such file or directory");
  const File file;
  file.Write("not a database");
  const auto opened = Geolocation::Open(file.path());
  CHECK(opened.status().code() == StatusCode::kFailedPrecondition);
  CHECK(Message(opened.status()).find(file.path() + " is not a MaxMind database") !=
        std::string::npos);
}

TEST_CASE("Geolocation takes a new file in, and keeps the old one when the new is broken",
          "[geolocation]") {
  const auto database = [](const std::string& city) {
    Writer writer;
    writer.PutV4(1, 2, 16, City(city, "AB"));
    return writer.Bytes();
  };
  const File file;
  file.Write(database("Before"));
  const auto geolocation = Geolocation::Open(file.path());
  REQUIRE(geolocation.ok());
  // The file is looked at once a second at most, on the machine's own clock.
  const auto until = [&](const std::string& city) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (Find(**geolocation, "1.2.3.4").find("\"" + city + "\"") == std::string::npos) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  };
  CHECK(until("Before"));
  file.Write("");  // cut under the reader: must not end the process
  CHECK(until("Before"));
  file.Write(database("After a change"));
  CHECK(until("After a change"));
  CHECK(unlink(file.path().c_str()) == 0);
  CHECK(until("After a change"));
}

TEST_CASE("Geolocation survives databases that are damaged", "[geolocation]") {
  Writer writer;
  writer.PutV4(1, 2, 16, City("Some City", "AB"));
  const std::string whole = writer.Bytes();
  const File file;
  // Of damaged metadata the library leaks a little; that is left out, for the leak checker's sake.
  const size_t metadata = whole.find("MaxMind.com");
  for (size_t at = 0; at < metadata; at += 3) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x5a);
    file.Write(damaged);
    const auto geolocation = Geolocation::Open(file.path());
    if (geolocation.ok()) Find(**geolocation, "1.2.3.4");
  }
  SUCCEED();
}

TEST_CASE("Geolocation reads a real country database", "[geolocation]") {
  const char* const path = std::getenv("MILLRACE_TEST_GEOLOCATION");
  if (path == nullptr) {
    std::cout << "skipped: a real database; MILLRACE_TEST_GEOLOCATION names none "
                 "(tests/support/geolocation.sh)\n";
    return;
  }
  const auto geolocation = Geolocation::Open(path);
  REQUIRE(geolocation.ok());
  CHECK(Find(**geolocation, "8.8.8.8") == R"({"ip":"8.8.8.8","country":"US"})");
  CHECK(Find(**geolocation, "2001:4860:4860::8888") ==
        R"({"ip":"2001:4860:4860::8888","country":"US"})");
  CHECK(Find(**geolocation, "133.11.0.1") == R"({"ip":"133.11.0.1","country":"JP"})");
  CHECK((*geolocation)->Lookup("127.0.0.1").status().code() == StatusCode::kNotFound);
}

}  // namespace
}  // namespace millrace::transformation
