#include "libs/json/writer.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace millrace::json {
namespace {

TEST_CASE("any text comes back from its JSON string", "[json]") {
  std::string all;
  for (char c = 1; c > 0 && c < 127; ++c) all.push_back(c);
  const std::string text = GENERATE_COPY(values<std::string>(
      {"", "plain", "\"", "\\", "\\\"", "a\nb\tc\rd", std::string("\0", 1), all, "Zürich 東京 🎉"}));
  CHECK(nlohmann::json::parse(Quote(text)).get<std::string>() == text);
}

TEST_CASE("a name cannot leave its place in the object", "[json]") {
  const std::string name = "we\"ird\\key\":1,\"admin";
  const std::string json =
      ObjectWriter().Text("a", "x\"y").Raw(name, "[1]").Number("n", -3).Text(name, "").Take();
  CHECK(json ==
        R"({"a":"x\"y","we\"ird\\key\":1,\"admin":[1],"n":-3,"we\"ird\\key\":1,\"admin":""})");
  CHECK(nlohmann::json::parse(json).size() == 3);
}

TEST_CASE("an object without members", "[json]") {
  ObjectWriter writer;
  CHECK(writer.empty());
  CHECK(writer.Take() == "{}");
}

}  // namespace
}  // namespace millrace::json
